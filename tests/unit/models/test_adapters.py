"""LoRA beside frozen weights: peft's own arithmetic, the layers that it gives, and merging."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from adapter_kit import CONFIG, LORA, RANK, images, layers_of, logits, with_tuned_adapters
from few_kit import several
from torch import nn

from raysel.common.errors import UserError
from raysel.models import timm
from raysel.models.adapters import merge_adapters, put_adapters
from raysel.models.build import build
from raysel.models.layers import partition_of
from raysel.spec.model import AdapterSpec


def test_it_computes_what_pefts_own_model_does():
    """`get_peft_model` with the names of the layers, as its documentation has it."""
    import peft  # after raysel's models, which mend what torchvision lacks of torch

    ours = with_tuned_adapters()
    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["qkv", "attn.proj"])
    theirs = peft.get_peft_model(build(CONFIG.plain, 1), config).eval()
    own = {name: t for name, t in ours.state_dict().items() if "lora" in name}
    names = {name.removeprefix("base_model.model.") for name in theirs.state_dict()}
    assert own and set(ours.state_dict()) == names
    theirs.base_model.model.load_state_dict(own, strict=False)
    assert torch.equal(logits(ours), logits(theirs))


def test_it_is_the_papers_equation():
    """h = W x + b + B A x, written as one linear layer (Hu et al., equation 3, scaling 1)."""
    tuned, plain = with_tuned_adapters(), build(CONFIG.plain, 1).eval()
    state = tuned.state_dict()
    for path, module in plain.named_modules():
        down, up = (state.get(f"{path}.lora_{which}.default.weight") for which in "AB")
        if down is not None and up is not None:
            assert isinstance(module, nn.Linear) and down.shape[0] == up.shape[1] == RANK
            with torch.no_grad():
                module.weight += (up.double() @ down.double()).float()
    assert torch.allclose(logits(tuned), logits(plain), rtol=1e-4, atol=1e-5)


def test_it_begins_as_the_model_was_with_the_same_head():
    adapted, plain = build(CONFIG, 3).eval(), build(CONFIG.plain, 3).eval()
    assert torch.equal(logits(adapted), logits(plain))
    first, other = (build(CONFIG, seed).state_dict() for seed in (3, 4))
    name = "blocks.0.attn.qkv.lora_A.default.weight"
    assert torch.equal(first[name], adapted.state_dict()[name])
    assert not torch.equal(first[name], other[name])


def test_given_weights_are_those_beside_which_they_stand():
    given = build(CONFIG.plain, 8).state_dict()
    model = build(CONFIG, 0, weights=given)
    merge_adapters(model)
    assert all(torch.equal(tensor, given[name]) for name, tensor in model.state_dict().items())


def test_an_adapter_is_of_the_layer_of_its_weight_and_nothing_else_moves():
    adapted, plain = layers_of(), layers_of(CONFIG.plain)
    model = build(CONFIG, 0)
    moving = [name for name, _ in model.named_parameters() if "lora" in name]
    head = ("head.weight", "head.bias")
    assert sorted(adapted.layer_of) == sorted([*moving, *head])
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    for layer in adapted.layers:
        assert list(layer.sizes) == [sizes[name] for name in layer.parameters]
        for name in set(layer.parameters) - set(head):
            path = name.partition(".lora_")[0]
            assert layer.name == plain.names[plain.layer_of[f"{path}.weight"]]
    assert adapted.names == tuple(name for name in plain.names if name != "stem")
    assert adapted.head == plain.head and adapted.head_layer == len(adapted) - 1
    assert adapted.of_kind("attention") == set(moving)
    assert "beside 12 linear layers" in adapted.notes[-1]
    assert f"{plain.size - sum(sizes[n] for n in head):,} others never move" in adapted.notes[-1]


@pytest.mark.parametrize(
    ("targets", "count"),
    several(
        3,
        [("attention", 12), ("mlp", 12), ("all", 24), (("qkv",), 6), (("blocks.1.attn", "fc1"), 8)],
    ),
)
def test_which_layers_are_adapted(targets, count):
    found = partition_of("test_vit", "coarse", 4, adapter=AdapterSpec(rank=2, targets=targets))
    names = [name for name in found.layer_of if "lora_A" in name]
    assert len(names) == count


@pytest.mark.slow
def test_of_a_kind_what_is_too_small_for_the_rank_has_none():
    """Two inputs of a network that gives position biases, beside attention of 96 to 768."""
    name = "swinv2_cr_tiny_ns_224"
    found = partition_of(name, "coarse", 4, adapter=AdapterSpec(rank=4))
    paths = {name.partition(".lora_")[0].rpartition(".")[2] for name in found.layer_of}
    assert {"qkv", "proj"} <= paths and "fc1" not in paths
    every = partition_of(name, "coarse", 4, adapter=AdapterSpec(rank=2))
    assert every.size < found.size
    assert "fc1" in {name.partition(".lora_")[0].rpartition(".")[2] for name in every.layer_of}


def test_merged_it_is_timms_own_model():
    model = with_tuned_adapters()
    before, start = logits(model), build(CONFIG.plain, 1).state_dict()
    merge_adapters(model)
    assert torch.allclose(logits(model), before, rtol=1e-4, atol=1e-5)
    state = model.state_dict()
    assert list(state) == list(start) and not hasattr(model, "peft_config")
    changed = [name for name in state if not torch.equal(state[name], start[name])]
    assert len(changed) == 12 and all(".attn." in name for name in changed)
    merge_adapters(model)  # of none it does nothing
    plain = timm.create_model("test_vit", num_classes=4, in_chans=1, img_size=32).eval()
    plain.load_state_dict(state)
    assert torch.equal(logits(plain), logits(model))


def test_a_copy_is_apart_from_the_model():
    model = with_tuned_adapters()
    before, scratch = logits(model), copy.deepcopy(model)
    merge_adapters(scratch)
    with torch.no_grad():
        scratch.head.weight.zero_()
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(
    ("model", "adapter", "path", "words"),
    several(
        4,
        [
            ("test_resnet", {}, "model.adapter", "no linear layer beside its classifier"),
            ("test_convnext", {}, "model.adapter.targets", "no linear layer of kind attention"),
            ("test_vit", {"rank": 65}, "model.adapter.rank", "give at most 64"),
            ("test_vit", {"targets": ("qkx",)}, "model.adapter.targets", '"qkx" matches no linear'),
            ("test_vit", {"targets": ("head",)}, "model.adapter.targets", "beside the classifier"),
            ("test_vit", {"targets": ("(",)}, "model.adapter.targets", "no"),
            ("beit_base_patch16_224", {}, "model.adapter.targets", "would do nothing"),
        ],
    ),
)
def test_what_cannot_be_adapted_is_refused(model, adapter, path, words):
    with pytest.raises(UserError) as refused:
        partition_of(model, "coarse", 4, adapter=AdapterSpec(**adapter))
    (problem,) = refused.value.problems
    assert problem.path == path and words in problem.message


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr("raysel.models.adapter_package.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "raysel\[lora\]"'):
        put_adapters(build(CONFIG.plain, 0), LORA)


def test_a_trainings_gradients_are_of_the_adapters():
    """Of A the first is 0, as B is."""
    model = build(CONFIG, 0)
    model(images()).square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if "lora" in name}
    assert all(bool((g == 0).all()) == ("lora_A" in name) for name, g in found.items())
