"""The partition of a model into layers: the papers' counts, D1 and D2, names, patterns."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
import torch
from few_kit import few, several
from torch import nn

from raysel.common.errors import UserError
from raysel.models import timm
from raysel.models.build import ModelConfig, build
from raysel.models.layers import Partition, partition, partition_of, shapes_of

VARIED = [
    *("test_resnet", "test_vit", "test_convnext", "test_efficientnet", "resnet10t", "vgg16"),
    *("mobilenetv3_small_100", "densenet121", "legacy_xception", "swin_tiny_patch4_window7_224"),
    *("deit_tiny_distilled_patch16_224", "regnetx_002", "pit_ti_224", "selecsls42", "nfnet_f0"),
]


def _meta(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=10, **options)


def _parameters(layers: Partition, name: str) -> tuple[str, ...]:
    return layers.layers[layers.names.index(name)].parameters


def _owners(layers: Partition, name: str) -> set[str]:
    return {parameter.rpartition(".")[0] for parameter in _parameters(layers, name)}


# --- the papers' layers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "coarse", "fine"),
    several(
        3,
        [
            ("wide_resnet50_2", 6, 18),
            ("vit_small_patch16_224", 14, 14),
            ("vit_base_patch16_224", 14, 14),
            ("convnext_tiny", 6, 20),
            ("vgg16", 14, 14),
            ("test_resnet", 6, 6),
            ("test_vit", 8, 8),
            ("test_convnext", 6, 11),
            ("test_efficientnet", 7, 7),
        ],
    ),
)
def test_the_counts_are_those_of_the_notes(name, coarse, fine):
    """Section 2.1 (Table 2 of the paper: 6, 14, 14, 6) and section 5.5."""
    assert len(partition_of(name, "coarse", 10)) == coarse
    assert len(partition_of(name, "fine", 10)) == fine


def test_a_wide_resnets_layers_are_the_authors():
    layers = partition_of("wide_resnet50_2", "coarse", 37)
    assert layers.names == ("stem", "layer1", "layer2", "layer3", "layer4", "head")
    assert _owners(layers, "stem") == {"conv1", "bn1"}
    assert _owners(layers, "head") == {"fc"}
    assert all(owner.startswith("layer3.") for owner in _owners(layers, "layer3"))
    # 68,883,240 of the paper's model with 1000 classes
    assert layers.size == 68_883_240 - 963 * (2048 + 1)


def test_a_vits_layers_are_the_authors():
    layers = partition_of("vit_small_patch16_224", "coarse", 37)
    assert layers.names == ("stem", *(f"blocks.{i}" for i in range(12)), "head")
    assert _owners(layers, "stem") == {"", "patch_embed.proj"}
    assert {"cls_token", "pos_embed"} <= set(_parameters(layers, "stem"))
    assert _owners(layers, "head") == {"norm", "head"}  # D1


# --- every parameter once -----------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["coarse", "fine"])
@pytest.mark.parametrize("name", several(5, VARIED))
def test_every_parameter_is_in_exactly_one_layer_of_a_name_of_its_own(name, rule):
    model = _meta(name)
    layers = partition(model, rule)
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    counted = Counter(n for layer in layers.layers for n in layer.parameters)
    assert counted == Counter(sizes.keys())
    assert all(layer.parameters for layer in layers.layers)
    assert [s for x in layers.layers for s in x.sizes] == [
        sizes[n] for x in layers.layers for n in x.parameters
    ]
    assert layers.size == sum(sizes.values())
    assert len(set(layers.names)) == len(layers)
    assert not any("+" in layer for layer in layers.names)  # joins the names of several
    assert layers.names[0] == "stem" and layers.names[-1] == "head"
    path = model.pretrained_cfg["classifier"]
    paths = (path,) if isinstance(path, str) else path
    assert set(layers.head) == {n for n in sizes for path in paths if n.startswith(path + ".")}
    assert layers.head_layer == len(layers) - 1
    assert layers.layer_of == {
        n: i for i, layer in enumerate(layers.layers) for n in layer.parameters
    }


@pytest.mark.parametrize("name", several(1, ["test_resnet", "test_vit", "test_convnext"]))
def test_without_weights_the_layers_are_the_same(name):
    allocated = timm.create_model(name, num_classes=10, in_chans=1)
    assert partition_of(name, "coarse", 10, channels=1) == partition(allocated)


# --- D1: the final norm -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "norm"),
    several(
        3,
        [
            ("vit_small_patch16_224", "norm"),
            ("test_vit", "norm"),
            ("resnetv2_50", "norm"),
            ("swin_tiny_patch4_window7_224", "norm"),
            ("mixer_s16_224", "norm"),
            ("convnext_tiny", "head.norm"),
            ("densenet121", "features.norm5"),
            ("pit_ti_224", "norm"),
        ],
    ),
)
@pytest.mark.parametrize("rule", few("coarse", "fine"))
def test_a_norm_between_the_last_block_and_the_classifier_is_the_heads(name, norm, rule):
    layers = partition_of(name, rule, 10)
    assert norm in _owners(layers, "head")
    assert not any(norm in _owners(layers, other) for other in layers.names[:-1])
    assert f"{norm}.weight" not in layers.head  # linear probing leaves it


@pytest.mark.parametrize(
    "name", several(1, ["efficientnet_b0", "mobilenetv2_100", "test_efficientnet"])
)
@pytest.mark.parametrize("rule", ["coarse", "fine"])
def test_a_norm_after_a_convolution_stays_with_it(name, rule):
    """D1: conv_head and bn2 stand between the last block and the classifier."""
    layers = partition_of(name, rule, 10)
    assert _owners(layers, "head") == {"classifier"}
    together = [layer for layer in layers.names if "conv_head" in _owners(layers, layer)]
    assert len(together) == 1 and "bn2" in _owners(layers, together[0])


@pytest.mark.parametrize("name", ["resnet10t", "wide_resnet50_2", "legacy_xception"])
def test_a_norm_inside_the_last_block_stays_there(name):
    assert _owners(partition_of(name, "coarse", 10), "head") == {"fc"}


# --- D2: tied weights ---------------------------------------------------------------------------


class _Tied(nn.Module):
    pretrained_cfg = {"classifier": "head"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.head = nn.Linear(4, 4)
        self.head.weight = self.first.weight


def test_a_tied_tensor_belongs_to_its_first_owner_and_is_reported(caplog):
    with caplog.at_level(logging.WARNING):
        layers = partition(_Tied())
    assert layers.names == ("stem", "second", "head")
    assert _parameters(layers, "stem") == ("first.weight", "first.bias")
    assert _parameters(layers, "head") == ("head.bias",)
    assert layers.size == 16 + 4 + 16 + 4 + 4
    assert "head.weight" in caplog.text


def test_without_a_tie_nothing_is_reported(caplog):
    with caplog.at_level(logging.WARNING):
        partition(_meta("test_vit"))
    assert caplog.text == ""


# --- models that timm does not group ------------------------------------------------------------


class _Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(3))
        self.patches = nn.Conv2d(1, 2, 3)
        self.pause = nn.ReLU()
        self.stem = nn.Linear(2, 20)
        self.head = nn.Linear(20, 5)
        self.norm = nn.LayerNorm(5)
        self.out = nn.Linear(5, 2)


def test_children_with_parameters_are_the_layers_in_forward_order():
    model = _Plain()
    model.pretrained_cfg = {"classifier": "out"}
    layers = partition(model)
    # the model's own parameters with the first child, the final norm with the classifier
    assert [layer.parameters for layer in layers.layers] == [
        ("embedding", "patches.weight", "patches.bias"),
        ("stem.weight", "stem.bias"),
        ("head.weight", "head.bias"),
        ("norm.weight", "norm.bias", "out.weight", "out.bias"),
    ]
    assert len(set(layers.names)) == 4
    assert layers.names[0] == "stem" and layers.names[-1] == "head"


@pytest.mark.parametrize("rule", few("delimiter", "coarse"))
@pytest.mark.parametrize(
    ("name", "classifiers"),
    several(
        2,
        [
            ("deit_tiny_distilled_patch16_224", ("head", "head_dist")),
            ("pit_ti_distilled_224", ("head", "head_dist")),
            ("levit_128s", ("head.linear", "head_dist.linear")),
            ("efficientformer_l1", ("head", "head_dist")),
            ("crossvit_tiny_240", ("head.0", "head.1")),
        ],
    ),
)
def test_two_classifiers_are_one_layer(name, classifiers, rule):
    """What is new with a new task is trained together, as `linear_probe` does."""
    found = partition_of(name, rule, 7)
    expected = {f"{path}.{kind}" for path in classifiers for kind in ("weight", "bias")}
    assert set(found.head) == expected
    assert (found.head_layer, found.names[-1]) == (len(found) - 1, "head")
    assert expected <= set(found.layers[-1].parameters)


@pytest.mark.parametrize("rule", ["coarse", "fine", "delimiter"])
def test_a_head_of_two_dense_layers_is_one_layer(rule):
    """`delimiter` cuts at the activation between them, which is no cut between blocks."""
    found = partition_of("test_resnet", rule, 7, head="mlp")
    assert found.names.count("head") == 1
    assert found.layers[-1].parameters == found.head
    assert len(found.head) == 4


def test_patterns_that_cut_the_classifier_are_reported():
    patterns = ("fc.0", "fc.3", ".*")
    with pytest.raises(UserError, match=r'"fc.0" and "fc.3" cut the classifier'):
        partition_of("test_resnet", patterns, 7, head="mlp")


def test_a_model_without_a_classifier_has_no_head():
    layers = partition(_Plain())
    assert layers.head == ()
    assert layers.names == ("stem", "stem.weight", "head.weight", "out")
    assert _owners(layers, "head.weight") == {"head", "norm"}
    assert layers.head_layer == 3


def test_a_single_layer_has_its_modules_name():
    model = nn.Sequential(nn.Linear(2, 2))
    assert partition(model).names == ("0",)


def test_a_model_that_timm_cannot_group_coarsely_is_cut_where_its_blocks_are():
    stages = tuple(f"dense_stages.{i}" for i in range(7))
    assert partition_of("rdnet_tiny", "coarse", 10).names == ("stem", *stages, "head")
    assert len(partition_of("rdnet_tiny", "fine", 10)) > 4


# --- patterns -----------------------------------------------------------------------------------


def test_patterns_are_prefixes_or_expressions_and_name_the_layers():
    rule = ("conv1", r"bn\d", "layer1", r"layer[23]\.", "layer4", "fc")
    layers = partition(_meta("resnet10t"), rule)
    assert layers.names == rule
    # a prefix and no more: each block has a conv1 of its own
    assert all(n.startswith("conv1.") for n in _parameters(layers, "conv1"))
    assert {"bn1.weight", "layer1.0.bn1.weight"} <= set(_parameters(layers, r"bn\d"))
    assert all(n.startswith("layer1.") for n in _parameters(layers, "layer1"))  # what is left
    assert "layer1.0.conv1.weight" in _parameters(layers, "layer1")
    assert any(n.startswith("layer3.") for n in _parameters(layers, r"layer[23]\."))
    assert layers.head == ("fc.weight", "fc.bias")


def test_a_prefix_ends_at_a_dot():
    rule = ("blocks.1", "blocks", ".")
    layers = partition(_meta("vit_tiny_patch16_224"), rule)
    assert {n.split(".")[1] for n in _parameters(layers, "blocks.1")} == {"1"}
    assert "10" in {n.split(".")[1] for n in _parameters(layers, "blocks")}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (("layer",), r'no pattern matches the parameter "conv1'),
        (("nothing", "."), '"nothing" matches no parameter'),
        (
            (".", "fc"),
            '"fc" matches no parameter that is left: what it matches is taken by "." before it',
        ),
    ],
)
def test_patterns_that_do_not_fit_are_reported(rule, said):
    with pytest.raises(UserError, match=said) as reported:
        partition(_meta("resnet10t"), rule)
    assert reported.value.problems[0].path == "model.partition"


def test_an_unknown_model_is_reported_with_the_nearest_name():
    with pytest.raises(UserError, match="resnet18") as reported:
        partition_of("resnet_18", "coarse", 10)
    assert reported.value.problems[0].path == "model.name"


# --- the finest cut -----------------------------------------------------------------------------


def test_by_tensor_each_tensor_is_a_layer():
    layers = partition_of("test_resnet", "coarse", 10)
    finest = layers.by_tensor()
    names = [n for layer in layers.layers for n in layer.parameters]
    assert list(finest.names) == names
    assert [layer.parameters for layer in finest.layers] == [(n,) for n in names]
    assert finest.size == layers.size and finest.head == layers.head


@pytest.mark.parametrize("size", [32, 64])
def test_a_transformer_has_the_shapes_of_its_images_and_not_of_timms(size):
    name, image = "test_vit", (size, size)
    built = build(ModelConfig(name, 5, 3, image), seed=0)
    shapes = {n: t.shape for n, t in built.state_dict().items()}
    meta = shapes_of(name, 5, image_size=image)
    assert {n: t.shape for n, t in meta.state_dict().items()} == shapes
    assert partition_of(name, "coarse", 5, image_size=image).size == partition(built).size
    assert partition_of(name, "coarse", 5).size != partition(built).size


def test_patterns_are_layers_in_forward_order_whatever_their_place_in_the_list():
    forward = ("^conv1|^bn1", "layer1", "layer2", "layer3", "layer4", "fc")
    backward = partition_of("test_resnet", forward[::-1], 3)
    assert backward.names == forward
    assert backward.layers == partition_of("test_resnet", forward, 3).layers
    # of two that match a name the first listed takes it all the same
    first = partition_of("test_resnet", ("fc", "conv", "."), 3)
    assert first.names == ("conv", ".", "fc")
    assert all("conv" in name for name in first.layers[0].parameters)
    assert not any("conv" in name for name in first.layers[1].parameters)


@pytest.mark.slow
def test_an_mlp_head_leaves_the_body_as_timm_cuts_it():
    linear, mlp = (
        partition_of("inception_resnet_v2", "coarse", 3, 3, head, (96, 96))
        for head in ("linear", "mlp")
    )
    assert [layer.parameters for layer in mlp.layers[:-1]] == [
        layer.parameters for layer in linear.layers[:-1]
    ]
