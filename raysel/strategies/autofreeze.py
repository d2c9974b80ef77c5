"""Freezing from below while training: layers whose gradient has stopped changing rest for good.

Liu, Agarwal and Venkataraman, "AutoFreeze: Automatically Freezing Model Blocks to Accelerate
Fine-tuning", section 4.1 (the gradient-norm test). With the gradient g_t,l of layer l, summed over
an interval T (here an epoch), and the layers f .. L-1 below the classifier that still move:

    D_l,T   = sum over t in T of g_t,l
    eta_l,T = | |D_l,T-1|_1 - |D_l,T|_1 | / |D_l,T-1|_1
    f <- the first layer l >= f with eta_l,T >= the p-th percentile of eta_f,T .. eta_L-1,T

and all layers below f are frozen. The classifier always moves, as does the layer that changes
most. The first test is after the second epoch (docs/algorithms.md, D47).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysel.common import fused
from raysel.common.deferred_torch import Tensor, torch
from raysel.models.partition_types import Partition
from raysel.spec.sweep import FloatRange, TrainingOverride
from raysel.strategies.base import Cost, Decision, Parameter, Probe, Step, Strategy
from raysel.strategies.registry import register

# --- the equations -------------------------------------------------------------------------------


def gradient_change(before: Tensor, after: Tensor) -> Tensor:
    """eta, [L] float64, of the lengths of two intervals; infinite where the first is 0 and the
    second is not, 0 where both are."""
    change = (before - after).abs()
    fresh = torch.where(after > 0, torch.inf, 0.0).to(change.dtype)
    return torch.where(before > 0, change / before, fresh)


def first_moving(change: Tensor, first: int, percentile: float) -> int:
    """The first layer from `first` on whose change is at or above the percentile of theirs.

    Args:
        change: [n] of the layers below the classifier.
        first: the first that moves now.
    """
    if first >= len(change):
        return first
    moving = change[first:]
    ranked = torch.sort(moving).values
    place = percentile / 100 * (len(ranked) - 1)
    low, high = ranked[int(place)], ranked[min(int(place) + 1, len(ranked) - 1)]
    # not torch.quantile: between two infinite values it gives NaN
    level = low if place == int(place) or low == high else low + (place - int(place)) * (high - low)
    return first + int((moving >= level).nonzero()[0])


# --- the strategy --------------------------------------------------------------------------------


@register
class AutoFreeze(Strategy):
    """Layers freeze from the bottom as their gradient stops changing from epoch to epoch."""

    name = "autofreeze"
    summary = "layers freeze from the bottom up as their gradient stops changing"
    paper = "Liu, Agarwal and Venkataraman, AutoFreeze, section 4.1"
    batch_norm = "frozen_eval"
    parameters = (
        Parameter(
            "percentile",
            "float",
            50.0,
            "p: layers below the first one that changes at least as much as this share of those "
            "that move are frozen; 0 freezes none",
            low=0.0,
            high=100.0,
            search=FloatRange.model_validate({"float": (10.0, 90.0)}),
        ),
    )
    published = TrainingOverride(optimizer="adamw")
    cost = Cost(
        during="an addition a parameter; no backward pass below the lowest layer that moves",
        memory="one copy of the parameters",
    )

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        self._first = 0
        self._sums: list[Tensor] | None = None  # T tensors, of the current epoch
        self._layer_of: Tensor | None = None  # [T] int64
        self._before: Tensor | None = None  # [L] float64, lengths of the epoch before
        self._decision = self._of_first()

    def epoch_start(self, epoch: int, epochs: int, probe: Probe) -> None:
        """Compare the gradients of the last two epochs, and freeze."""
        if self._sums is None or self._layer_of is None:
            return
        lengths = torch.stack([t.abs().sum(dtype=torch.float64) for t in self._sums]).cpu()
        now = torch.zeros(len(self.partition), dtype=torch.float64)
        now.index_add_(0, self._layer_of.cpu(), lengths)
        if self._before is not None:
            change = gradient_change(self._before, now)[: self.partition.head_layer]
            self._first = first_moving(change, self._first, self.values["percentile"])
            self._decision = self._of_first()
        self._before = now
        for group in fused.groups(self._sums):
            torch._foreach_zero_([self._sums[index] for index in group])

    def active(self, epoch: int, epochs: int) -> list[int]:
        """The layers that are not frozen yet."""
        return list(range(self._first, len(self.partition)))

    def decide(self, step: Step) -> Decision:
        """Add up this step's gradients; every layer that is not frozen moves."""
        if self._sums is None:
            self._sums = [torch.zeros_like(p) for p in step.parameters]
            self._layer_of = step.layer_of
        elif self._sums and self._sums[0].device != step.device:  # a checkpoint is read on the CPU
            there = zip(self._sums, step.parameters, strict=True)
            self._sums = [torch.empty_like(p).copy_(total) for total, p in there]
        pairs = zip(self._sums, step.gradients, strict=True)
        given = [(total, gradient) for total, gradient in pairs if gradient is not None]
        if given:
            totals, gradients = [total for total, _ in given], [g for _, g in given]
            if step.finite is None:
                torch._foreach_add_(totals, gradients)
            else:
                fused.add_(totals, gradients, (~step.finite).to(torch.float32))
        return self._decision

    def _of_first(self) -> Decision:
        weights = torch.ones(len(self.partition))
        weights[: self._first] = 0.0
        return Decision(weights)

    def state_dict(self) -> dict[str, Any]:
        """Which layers are frozen, and the gradients of this and the last epoch."""
        return {
            "first": self._first,
            "sums": self._sums,
            "layer_of": self._layer_of,
            "before": self._before,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._first, self._sums = state["first"], state["sums"]
        self._layer_of, self._before = state["layer_of"], state["before"]
        self._decision = self._of_first()
