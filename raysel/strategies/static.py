"""Static masks: the layers that move are chosen before training and never change.

Full fine-tuning and linear probing are the baselines of every paper; a fixed subset of
layers is surgical fine-tuning: theta_S = argmin_{theta_i, i in S} L_tgt (Lee et al.,
section 2). The head of `linear_probe` is the classifier module itself: a final norm that
shares its layer stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from raysel.models.layers import Partition
from raysel.strategies.base import (
    Cost,
    Decision,
    Parameter,
    Step,
    Strategy,
    TrainingOverride,
    register,
)

_BVG = "Tomita et al., Bias-Variance Guided Layer Selection"
_SURGICAL = "Lee et al., Surgical Fine-Tuning Improves Adaptation to Distribution Shifts"


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
    paper = f"{_BVG}, section 4 (full fine-tuning)"
    published = TrainingOverride(optimizer="sgd", learning_rate=0.01, momentum=0.9, batch_size=128)


@register
class LinearProbe(StaticMask):
    """Only the classifier moves."""

    name = "linear_probe"
    summary = "only the classifier moves: the cheapest baseline"
    paper = f"{_BVG}, section 4 (linear probing)"
    batch_norm = "frozen_eval"
    published = TrainingOverride(optimizer="sgd", learning_rate=0.01, momentum=0.9, batch_size=128)
    cost = Cost(during="a forward pass and the head's own backward: about a third of a step")

    def trainable(self) -> list[int]:
        """The layer that holds the classifier."""
        return [self.partition.head_layer]

    def trainable_parameters(self) -> frozenset[str]:
        """The classifier's parameters; the whole last layer where there is no classifier."""
        return frozenset(self.partition.head) or super().trainable_parameters()


@register
class Surgical(StaticMask):
    """A named subset of the layers moves."""

    name = "surgical"
    summary = "one or several named layers move, the rest is frozen"
    paper = f"{_SURGICAL}, section 2"
    batch_norm = "eval"
    parameters = (Parameter("block", "layers", None, "the layers that move, joined by +"),)
    published = TrainingOverride(optimizer="adam", learning_rate=1e-3, weight_decay=1e-4)
    cost = Cost(during="a forward pass and the backward pass down to the lowest layer that moves")

    def trainable(self) -> list[int]:
        """The named layers."""
        return sorted(self.partition.names.index(name) for name in self.values["block"].split("+"))
