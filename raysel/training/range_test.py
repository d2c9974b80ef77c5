"""A learning-rate range test (Smith, 2017): a trial whose rate grows with every step, until its
loss does.

The loss of each step is smoothed as fastai's `lr_find` does (a moving average of decay 0.98, freed
of its start), and the test ends where that is four times its lowest. Suggested is the middle of its
`valley`, the longest run of falling losses (docs/algorithms.md, D66).
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


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Attributes:
        rates: of each step.
        losses: of each step, before it; smoothed.
        suggested: the middle of the longest run of falling losses; None where there is none.
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
    middle = valley(smoothed)
    return RangeTest(
        tuple(rates[: len(smoothed)]),
        tuple(smoothed),
        None if middle is None else rates[middle],
        rates[int(np.argmin(smoothed))] if smoothed else None,
    )


def valley(losses: Sequence[float]) -> int | None:
    """The place that fastai's `valley` suggests: the middle of the longest decreasing subsequence,
    which the noise of the first steps, at rates that change nothing, does not reach.

    Returns:
        None where no loss is below an earlier one.
    """
    lengths: list[int] = []  # of the longest decreasing subsequence that ends at each place
    for place, loss in enumerate(losses):
        before = (lengths[i] for i in range(place) if losses[i] > loss)
        lengths.append(1 + max(before, default=0))
    longest = max(lengths, default=1)
    if longest == 1:
        return None
    end = lengths.index(longest)
    start, third = end - longest, longest / 3
    return max(start + int(third) + int(third / 2), 0)
