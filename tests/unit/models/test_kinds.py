"""What each parameter of timm's models does, by names that are known by hand."""

import re

import pytest
from few_kit import several
from torch import nn

from raysel.models.kinds import kinds_of
from raysel.models.layers import partition, shapes_of


def of_kind(name: str, kind: str) -> set[str]:
    found = kinds_of(shapes_of(name, 10))
    return {parameter for parameter, own in found.items() if own == kind}


# timm's own names of attention and MLPs in each family, and of norms
KNOWN = {
    "test_vit": (r"\.attn\.", r"\.mlp\.", r"(^|\.)norm\d?\."),
    "convnext_atto": (r"$^", r"\.mlp\.(?!grn)", r"norm\.|downsample\.0\.|stem\.1\.|\.grn\."),
    "resnet18": (r"$^", r"$^", r"(^|\.)bn\d\.|downsample\.1\."),
    "vit_tiny_patch16_224": (r"\.attn\.", r"\.mlp\.", r"(^|\.)norm\d?\."),
    "swin_tiny_patch4_window7_224": (r"\.attn\.", r"\.mlp\.", r"(^|\.)norm\d?\."),
    "mixer_s32_224": (r"$^", r"\.mlp_(tokens|channels)\.", r"(^|\.)norm\d?\."),
    "cait_xxs24_224": (r"\.attn\.", r"\.mlp\.", r"(^|\.)norm\d?\."),
}


@pytest.mark.parametrize("name", several(1, KNOWN))
def test_attention_mlps_and_norms_are_those_of_the_names(name):
    names = [parameter for parameter, _ in shapes_of(name, 10).named_parameters()]
    for kind, pattern in zip(("attention", "mlp", "norm"), KNOWN[name], strict=True):
        assert of_kind(name, kind) == {n for n in names if re.search(pattern, n)}, kind


def test_a_module_of_torch_and_one_of_the_users_own():
    class SwiGLU(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pretrained_cfg = {"classifier": "head"}
            self.mix = nn.MultiheadAttention(4, 2)
            self.ffn = SwiGLU()
            self.head = nn.Linear(4, 3)

    found = kinds_of(Model())
    assert {found[name] for name in found if name.startswith("mix.")} == {"attention"}
    assert (found["ffn.gate.weight"], found["ffn.norm.weight"]) == ("mlp", "norm")
    assert found["head.weight"] == "other"


def test_an_mlp_that_is_the_classifier_is_none():
    found = kinds_of(shapes_of("resnet18", 10, 3, "mlp"))
    assert "mlp" not in found.values()


@pytest.mark.slow
def test_the_partition_knows_them_however_fine_it_is():
    model = shapes_of("test_vit", 10)
    for rule in ("coarse", "fine", "delimiter"):
        layers = partition(model, rule)
        for cut in (layers, layers.by_tensor()):
            assert cut.of_kind("attention") == of_kind("test_vit", "attention")
            assert cut.of_kind("norm") == of_kind("test_vit", "norm")
