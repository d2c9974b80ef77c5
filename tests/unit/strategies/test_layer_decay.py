"""Layer-wise decay against the rates of BEiT's and MAE's releases, and timm's parameter groups."""

import importlib

import pytest

from raysel.models.layers import partition, shapes_of
from raysel.strategies.registry import strategy_named


def rates(name: str, decay: float) -> dict[str, float]:
    layers = partition(shapes_of(name, 10), "fine")
    weights = strategy_named("llrd")(layers, {"decay": decay}).decide(None).weights
    return {parameter: float(weights[layer]) for parameter, layer in layers.layer_of.items()}


def of_release(parameter: str, blocks: int, decay: float) -> float:
    """Embeddings are layer 0, block k (from 0) is k + 1, all else the last, blocks + 1."""
    parts = parameter.split(".")
    if parts[0] in ("cls_token", "reg_token", "pos_embed", "patch_embed"):
        layer = 0
    else:
        layer = int(parts[1]) + 1 if parts[0] == "blocks" else blocks + 1
    return float(decay ** (blocks + 1 - layer))


@pytest.mark.parametrize("decay", [0.65, 1.0])
def test_a_vision_transformers_rates_are_those_of_beit_and_mae(decay):
    found = rates("test_vit", decay)
    blocks = 1 + max(int(name.split(".")[1]) for name in found if name.startswith("blocks."))
    assert blocks > 3
    for parameter, rate in found.items():
        assert rate == pytest.approx(of_release(parameter, blocks, decay), rel=1e-6), parameter


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_they_are_those_of_timm_but_for_the_final_norm(name):
    model, found = shapes_of(name, 10), rates(name, 0.65)
    names = {id(parameter): n for n, parameter in model.named_parameters()}
    # after raysel.models, which makes timm's import work beside this torchvision
    optim = importlib.import_module("timm.optim")
    groups = optim.param_groups_layer_decay(model, weight_decay=0.0, layer_decay=0.65)
    theirs = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    assert set(theirs) == set(found)
    body = [n for n in found if not n.startswith("norm.")]  # docs/algorithms.md, D1
    assert {n: found[n] for n in body} == pytest.approx({n: theirs[n] for n in body}, rel=1e-6)
