"""A learning-rate range test (Smith, 2017): a trial whose rate grows with every step, until its
loss does.

The loss of each step is smoothed as fastai's `lr_find` does (a moving average of decay 0.98, freed
of its start), and the test ends where that is four times its lowest. Suggested is the rate at which
the smoothed loss falls fastest along the logarithm of the rate (docs/algorithms.md, D66).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysel.training.loop import FineTuning
from raysel.training.nonfinite import Diverged

LOWEST, HIGHEST = 1e-6, 1.0
"""The rates of the first and of the last step."""

_DECAY = 0.98
_TOO_MUCH = 4.0
_EDGE = 5  # steps at the start whose slope says nothing: the average has hardly begun


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Attributes:
        rates: of each step.
        losses: of each step, before it; smoothed.
        suggested: where the loss falls fastest; None where it falls nowhere.
        lowest: the rate of the lowest loss.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float | None
    lowest: float | None


class _Over(Exception):
    """The last step of the test, or the loss is too large."""


def range_test(tuning: FineTuning, steps: int) -> RangeTest:
    """Train with rates from `LOWEST` to `HIGHEST`, each step's a constant factor above the last.

    Args:
        tuning: a trial that has not begun; its weights are of no use afterwards.
        steps: at most; no more than the trial has.
    """
    epochs = tuning.settings.epochs
    steps = min(steps, epochs * tuning.steps_per_epoch)
    rates = [float(rate) for rate in np.geomspace(LOWEST, HIGHEST, steps)]
    smoothed: list[float] = []
    average, lowest = 0.0, math.inf

    def after_step(step: int) -> None:
        nonlocal average, lowest
        loss = float(tuning.last_loss)
        if not math.isfinite(loss):
            raise _Over
        average = _DECAY * average + (1 - _DECAY) * loss
        smoothed.append(average / (1 - _DECAY**step))
        lowest = min(lowest, smoothed[-1])
        if smoothed[-1] > _TOO_MUCH * lowest or step == steps:
            raise _Over

    tuning.rate, tuning.after_step = rates.__getitem__, after_step
    try:
        for _ in range(epochs):
            tuning.run_epoch()
    except (_Over, Diverged):
        pass
    suggested, bottom = _suggested(rates, smoothed)
    return RangeTest(tuple(rates[: len(smoothed)]), tuple(smoothed), suggested, bottom)


def _suggested(
    rates: Sequence[float], losses: Sequence[float]
) -> tuple[float | None, float | None]:
    """The rate where the loss falls fastest before its lowest, and that of the lowest."""
    if not losses:
        return None, None
    bottom = int(np.argmin(losses))
    if bottom <= _EDGE:
        return None, rates[bottom]
    slopes = np.gradient(np.asarray(losses[: bottom + 1]), np.log(rates[: bottom + 1]))
    steepest = _EDGE + int(np.argmin(slopes[_EDGE:]))
    return (rates[steepest] if slopes[steepest] < 0 else None), rates[bottom]
