"""`partition: delimiter`: the block-wise paper's literal cut at non-weighting modules."""

import logging
from typing import ClassVar

import pytest
import torch
from few_kit import several, slow
from torch import nn

from raysel.common.errors import UserError
from raysel.models import timm
from raysel.models.delimiter import weight_runs
from raysel.models.layers import partition, partition_of
from raysel.spec.reader import parse


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("vgg16", 16),
        ("regnetx_002", 45),
        ("vit_small_patch16_224", 13),
        *slow(
            [
                ("mobilenetv2_100", 53),
                ("resnetv2_50", 50),
                ("efficientnet_b0", 82),
                ("densenet121", 121),
                ("wide_resnet50_2", 54),
                ("convnext_tiny", 19),
            ]
        ),
    ],
)
def test_the_counts_of_the_papers_kind_of_models(model, count):
    """As listed in docs/algorithms.md (D28); there is no difference to explain.

    Each is the model's number of weight modules that are followed by a delimiter, and the
    classifier: VGG16 has 13 convolutions and 3 linear layers; EfficientNet-B0 is cut at the
    sigmoid of squeeze-and-excitation too, so its two convolutions are runs of their own;
    ViT-S (12 GELU) and ConvNeXt-T (18 GELU) have no other delimiter.
    """
    assert len(partition_of(model, "delimiter", 10)) == count


class Branchy(nn.Module):
    """A pre-activation net: a norm before any weights, an own parameter, a layer never used."""

    pretrained_cfg: ClassVar = {"classifier": "head", "input_size": (3, 8, 8)}

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(3, 1, 1))
        self.head = nn.Linear(6, 2)  # stands before what precedes it in execution
        self.first_norm = nn.BatchNorm2d(3)
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.wide = nn.Conv2d(4, 6, 1)
        self.wider = nn.Conv2d(6, 6, 1)
        self.never = nn.Linear(5, 5)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.wider(self.wide(self.inner(self.first_norm(x + self.token))))
        return self.head(self.act(x).mean((2, 3)))


def test_runs_follow_the_execution_and_norms_the_weights_before_them():
    assert weight_runs(Branchy()) == [
        ["token", "first_norm.weight", "first_norm.bias"]
        + [f"inner.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")],
        ["wide.weight", "wide.bias", "wider.weight", "wider.bias", "never.weight", "never.bias"],
        ["head.weight", "head.bias"],
    ]


def test_layers_are_named_by_their_largest_tensor():
    assert partition(Branchy(), "delimiter").names == ("stem", "wider", "head")


@pytest.mark.parametrize(
    "model", several(4, [m for m in timm.list_models("test_*") if "evos" not in m])
)
def test_every_parameter_is_in_one_layer_with_a_name_of_its_own(model):
    with torch.device("meta"):
        built = timm.create_model(model, num_classes=10)
    found = partition(built, "delimiter")
    assert sorted(found.layer_of) == sorted(name for name, _ in built.named_parameters())
    assert len(set(found.names)) == len(found) == len(partition(built, "delimiter"))
    assert (found.names[0], found.names[-1]) == ("stem", "head")
    assert found.names == partition(built, "delimiter").names


def test_tracing_leaves_the_model_as_it_is():
    model = timm.create_model("test_resnet", num_classes=10, in_chans=1).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    partition(model, "delimiter")
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert torch.equal(random, torch.get_rng_state())


def test_a_model_that_needs_data_is_one_line():
    class Wants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) if float(x.sum()) > 0 else x

    with pytest.raises(UserError, match=r"^model.partition: the model cannot be traced .*coarse"):
        partition(Wants(), "delimiter")


def test_a_sweep_file_may_ask_for_it():
    text = (
        "{name: a, task: {data: digits}, strategies: {full: },"
        " model: {name: test_resnet, partition: delimiter}}"
    )
    assert parse(text).model.partition == "delimiter"


class Tied(nn.Module):
    pretrained_cfg: ClassVar = {"classifier": "head", "input_size": (3, 4, 4)}

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.encode = nn.Conv2d(3, 3, 1)
        self.act = act
        self.decode = nn.Conv2d(3, 3, 1)
        self.decode.weight = self.encode.weight
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.decode(self.act(self.encode(x))).mean((2, 3)))


@pytest.mark.parametrize("rule", ["delimiter", "coarse", ("encode", "decode", "head")])
def test_a_tie_across_layers_is_reported_and_stays_with_its_first_owner(rule, caplog):
    with caplog.at_level(logging.WARNING):
        found = partition(Tied(nn.ReLU()), rule)
    (record,) = caplog.records
    assert record.getMessage() == (
        "decode.weight is tied to encode.weight of another layer and moves with that one"
    )
    assert found.layer_of["encode.weight"] == 0
    assert "decode.weight" not in found.layer_of


@pytest.mark.parametrize("rule", ["delimiter", ("encode|decode", "head")])
def test_a_tie_within_a_layer_is_no_matter(rule, caplog):
    with caplog.at_level(logging.WARNING):
        partition(Tied(nn.Identity()), rule)
    assert caplog.records == []
