"""The base learning rate as a function of the step."""

from __future__ import annotations

import math

from raysel.spec.sweep import TrainingSettings


def learning_rate(settings: TrainingSettings, step: int, steps_per_epoch: int) -> float:
    """The base learning rate of optimizer step `step` (counted from 0).

    Linear from 0 over `warmup_epochs`, then constant, or half a cosine down to 0 at the
    last step.
    """
    peak = settings.learning_rate
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return peak
    total = max(settings.epochs * steps_per_epoch - warmup, 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min((step - warmup) / total, 1.0)))
