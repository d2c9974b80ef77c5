"""A partition of a model into layers, as plain values: no model and no torch.

"Layer" is the papers' word for one group of the partition; `raysel.models.layers` makes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

Rule = Literal["coarse", "fine", "delimiter"] | tuple[str, ...]
"""How to cut: timm's coarse or fine layers, at every non-weighting module, or by name
patterns, one a layer."""

SIZE = "task.image_size"
"""The field that a model's refusal of a size names."""

Head = Literal["linear", "mlp"]
"""timm's own classifier; or a hidden layer before the logits."""

Kind = Literal["norm", "attention", "mlp", "other"]
"""What a parameter does; `raysel.models.kinds` tells."""


def joined_layers(block: str, names: Collection[str]) -> list[str]:
    """The layers that a text joins by `+`: `layer1+layer2`. What is none of `names` stays as it
    is.

    A name may hold a `+` itself (a pattern, a module of one's own): of two readings the one with
    the longest first name is taken.
    """
    parts = block.split("+")
    for count in range(len(parts), 0, -1):
        first, rest = "+".join(parts[:count]), parts[count:]
        if first in names:
            others = joined_layers("+".join(rest), names) if rest else []
            if all(name in names for name in others):
                return [first, *others]
    return parts


@dataclass(frozen=True)
class Layer:
    """One layer: a stable name and the names of its parameters, in forward order.

    Attributes:
        kinds: what each parameter does; empty where it was not asked.
    """

    name: str
    parameters: tuple[str, ...]
    sizes: tuple[int, ...]
    kinds: tuple[Kind, ...] = field(default=(), compare=False)

    @property
    def size(self) -> int:
        """How many scalars the layer has."""
        return sum(self.sizes)


@dataclass(frozen=True)
class Partition:
    """The layers of a model in forward order; every parameter is in exactly one.

    Attributes:
        layers: L layers.
        head: names of the classifier's own parameters (a part of the last layer where a
            final norm shares it); of all where a model has several.
        notes: what a user should know of it, in sentences.
        unused: the layers none of whose parameters the forward pass uses; none where the model
            could not be run.
    """

    layers: tuple[Layer, ...]
    head: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)
    unused: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names in forward order."""
        return tuple(layer.name for layer in self.layers)

    @property
    def size(self) -> int:
        """How many scalars the model has."""
        return sum(layer.size for layer in self.layers)

    @property
    def layer_of(self) -> dict[str, int]:
        """The index of the layer of each parameter."""
        return {name: i for i, layer in enumerate(self.layers) for name in layer.parameters}

    def parameters_of(self, layers: Iterable[int]) -> frozenset[str]:
        """Names of the parameters of the layers with these indices."""
        return frozenset(name for index in layers for name in self.layers[index].parameters)

    def of_kind(self, kind: Kind) -> frozenset[str]:
        """Names of the parameters of a kind."""
        return frozenset(
            name
            for layer in self.layers
            for name, own in zip(layer.parameters, layer.kinds, strict=False)
            if own == kind
        )

    @property
    def head_layer(self) -> int:
        """The index of the layer that holds the classifier; the last if there is none."""
        return self.layer_of[self.head[0]] if self.head else len(self) - 1

    def by_tensor(self) -> Partition:
        """The finest partition: each parameter tensor a layer of its own name."""
        single = (
            Layer(name, (name,), (size,), layer.kinds[place : place + 1])
            for layer in self.layers
            for place, (name, size) in enumerate(zip(layer.parameters, layer.sizes, strict=True))
        )
        return Partition(tuple(single), self.head)
