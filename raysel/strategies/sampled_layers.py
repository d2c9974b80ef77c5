"""Layers drawn at random for many steps at once; the first and the last always move.

Pan et al., "LISA: Layerwise Importance Sampling for Memory-Efficient Large Language Model
Fine-Tuning", Algorithm 1. With L layers, every K steps

    S ~ a subset of {2 .. L-1} of gamma layers, uniformly
    update theta_1, theta_L and theta_l for l in S; all others are frozen

Only the layers that move get a gradient, and the backward pass is needed for no others; the first
one always moves, so it goes all the way down. A layer that rests keeps the optimizer's state of its
last steps (the paper does not say; its release makes the state anew for LISA's trainer alone).

The subset is a function of the trial's seed, the strategy's own and the number of the interval, so
there is no state to save, and a resumed trial draws as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from raysel.common.deferred_torch import torch
from raysel.models.partition_types import Partition
from raysel.strategies.base import Cost, Decision, IntRange, Parameter, Step, Strategy
from raysel.strategies.registry import register


@lru_cache(maxsize=8)
def sampled_layers(layers: int, count: int, interval: int, *seeds: int) -> tuple[int, ...]:
    """The layers that move in an interval (from 0): both ends and `count` between them, sorted."""
    import numpy as np  # noqa: PLC0415  (declaring the strategy needs none)

    inner = range(1, layers - 1)
    drawn = np.random.default_rng((*seeds, interval)).permutation(len(inner))[:count]
    return tuple(sorted({0, layers - 1, *(inner[place] for place in drawn.tolist())}))


@register
class Lisa(Strategy):
    """The first and the last layer move, and some in between that change every K steps."""

    name = "lisa"
    summary = "both ends and a few layers drawn again every k steps move, the rest is frozen"
    paper = "Pan et al., LISA: Layerwise Importance Sampling, Algorithm 1"
    parameters = (
        Parameter(
            "sampled",
            "int",
            2,
            "gamma, how many layers between the ends move at a time; all where there are fewer",
            low=1,
            search=IntRange.model_validate({"int": (1, 4)}),
        ),
        Parameter(
            "every",
            "int",
            20,
            "K, after how many steps they are drawn again",
            low=1,
            search=IntRange.model_validate({"int": (5, 50), "log": True}),
        ),
        Parameter("seed", "int", 0, "draws other layers in the same trial", low=0),
    )
    cost = Cost(during="a forward pass and the backward pass, with the gradients of few layers")

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        self._decided: tuple[tuple[int, ...], Decision] | None = None

    def needs_gradients(self, number: int, seed: int) -> Sequence[int]:
        """Those of the layers that move."""
        return self._moving(number, seed)

    def decide(self, step: Step) -> Decision:
        """Weight 1 for the layers that move, made once an interval."""
        moving = self._moving(step.number, step.seed)
        if self._decided is None or self._decided[0] != moving:
            weights = torch.zeros(len(self.partition))
            weights[list(moving)] = 1.0
            self._decided = moving, Decision(weights)
        return self._decided[1]

    def _moving(self, number: int, seed: int) -> tuple[int, ...]:
        count, every = self.values["sampled"], self.values["every"]
        interval = (number - 1) // every
        return sampled_layers(len(self.partition), count, interval, seed, self.values["seed"])
