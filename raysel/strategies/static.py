"""Static masks: the layers that move are chosen before training and never change.

Full fine-tuning and linear probing are the baselines of every paper, among them BL2 and
BL1 of the block-wise one. The other masks:

    suffix      S = {L-k+1 .. L}                                        ("Ln-L", Tomita et al.)
    surgical    theta_S = argmin_{theta_i, i in S} L_tgt                (Lee et al.)
    blockwise   S = block i and the classifier, for i = 1..N in turn    (Barakat and Huang)

The classifier of `linear_probe` and `blockwise` is that module alone: a final norm that
shares its layer (ViT, ConvNeXt) stays as it is. So `suffix` with one layer is `linear_probe`
only where the last layer is the classifier and nothing else (docs/algorithms.md, D1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysel.common.deferred_torch import torch
from raysel.models.partition_types import Partition, joined_layers
from raysel.strategies.base import (
    Cost,
    Decision,
    IntRange,
    Parameter,
    Step,
    Strategy,
    TrainingOverride,
)
from raysel.strategies.registry import register

_BVG = "Tomita et al., Bias-Variance Guided Layer Selection"
_SURGICAL = "Lee et al., Surgical Fine-Tuning Improves Adaptation to Distribution Shifts"
_BLOCKWISE = "Barakat and Huang, Enhancing Transfer Learning Reliability via Block-wise Fine-tuning"

_DOWN_TO_THE_LOWEST = Cost(
    during="a forward pass and the backward pass down to the lowest layer that moves"
)


def classifier_parameters(partition: Partition) -> frozenset[str]:
    """Names of the classifier's own parameters; the whole last layer where there is none."""
    return frozenset(partition.head or partition.layers[partition.head_layer].parameters)


def suffix_layers(count: int, layers: int) -> list[int]:
    """The last `count` of L layers; all of them where `count` is larger."""
    return list(range(max(layers - count, 0), layers))


def named_layers(partition: Partition, block: str) -> list[int]:
    """Indices of the layers that `block` names, joined by `+`; in forward order."""
    return sorted({partition.names.index(name) for name in joined_layers(block, partition.names)})


class StaticMask(Strategy):
    """A strategy whose weights are 1 for a fixed set of layers and 0 for all others."""

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        weights = torch.zeros(len(partition))
        weights[self.trainable()] = 1.0
        self._decision = Decision(weights)

    def decide(self, step: Step) -> Decision:
        """The same mask at every step."""
        return self._decision


@register
class Full(StaticMask):
    """Every layer moves."""

    name = "full"
    summary = "every layer moves: the baseline that a choice of layers must beat"
    paper = f"{_BVG}, section 4 (full fine-tuning); {_BLOCKWISE}, section V (BL2)"
    published = TrainingOverride(optimizer="sgd", learning_rate=0.01, momentum=0.9, batch_size=128)


@register
class LinearProbe(StaticMask):
    """Only the classifier moves."""

    name = "linear_probe"
    summary = "only the classifier moves: the cheapest baseline"
    paper = f"{_BVG}, section 4 (linear probing); {_BLOCKWISE}, section V (BL1)"
    batch_norm = "frozen_eval"
    published = TrainingOverride(optimizer="sgd", learning_rate=0.01, momentum=0.9, batch_size=128)
    cost = Cost(during="a forward pass and the head's own backward: about a third of a step")

    def trainable(self) -> list[int]:
        """The layer that holds the classifier."""
        return [self.partition.head_layer]

    def trainable_parameters(self) -> frozenset[str]:
        """The classifier's parameters; the whole last layer where there is no classifier."""
        return classifier_parameters(self.partition)


@register
class Suffix(StaticMask):
    """The last layers move, the ones before them are frozen."""

    name = "suffix"
    summary = "the last k layers move, the rest is frozen: partial fine-tuning"
    paper = f"{_BVG}, Table 3 (partial fine-tuning, Ln-L)"
    parameters = (
        Parameter(
            "layers",
            "int",
            3,
            "how many of the last layers move (3 of 6 is L4-6, the best of Table 3 in the mean); "
            "all of them where the model has fewer",
            low=1,
            search=IntRange.model_validate({"int": (1, 6)}),
        ),
    )
    published = TrainingOverride(
        optimizer="sgd", learning_rate=0.01, momentum=0.9, batch_size=128, epochs=50
    )
    cost = _DOWN_TO_THE_LOWEST

    def trainable(self) -> list[int]:
        """The last layers."""
        return suffix_layers(self.values["layers"], len(self.partition))


@register
class Surgical(StaticMask):
    """A named subset of the layers moves."""

    name = "surgical"
    summary = "one or several named layers move, the rest is frozen"
    paper = f"{_SURGICAL}, section 2"
    batch_norm = "eval"
    parameters = (Parameter("block", "layers", None, "the layers that move, joined by +"),)
    published = TrainingOverride(optimizer="adam", learning_rate=1e-3, weight_decay=1e-4)
    differs = (
        "no single learning rate is published: the release tries 1e-1 to 1e-5 by tens, of which "
        "1e-3 is the middle"
    )
    cost = _DOWN_TO_THE_LOWEST

    def trainable(self) -> list[int]:
        """The named layers."""
        return named_layers(self.partition, self.values["block"])


@register
class Blockwise(StaticMask):
    """One block moves together with the classifier.

    The paper tunes i = 1..N in turn and keeps the best by validation: `block: search`. Its
    baselines are `linear_probe` (BL1) and `full` (BL2), which every sweep contains, so they
    have no second name here. The paper's head is new because its classes are; here too the
    head is new where the task's classes are.
    """

    name = "blockwise"
    summary = "one named block moves together with the classifier, the rest is frozen"
    paper = f"{_BLOCKWISE}, Algorithm 1 (i = 1..N inclusive, D26)"
    batch_norm = "frozen_eval"
    parameters = (
        Parameter(
            "block",
            "layers",
            None,
            "the block that moves beside the classifier; the head itself as the block is the "
            "paper's baseline BL1 where it holds nothing but the classifier",
        ),
    )
    published = TrainingOverride(optimizer="adam", learning_rate=1e-3, batch_size=24, epochs=10)
    cost = _DOWN_TO_THE_LOWEST

    def trainable(self) -> list[int]:
        """The block and the layer that holds the classifier."""
        return sorted({*self._block(), self.partition.head_layer})

    def trainable_parameters(self) -> frozenset[str]:
        """The block's parameters and the classifier's."""
        block = self.partition.parameters_of(self._block())
        return block | classifier_parameters(self.partition)

    def _block(self) -> list[int]:
        return named_layers(self.partition, self.values["block"])
