"""The base learning rate: warm-up, then constant or half a cosine."""

from __future__ import annotations

import math

import pytest
from trial_kit import SETTINGS

from raysel.training.schedule import learning_rate

STEPS_PER_EPOCH = 10


def _rates(**settings) -> list[float]:
    chosen = SETTINGS.model_copy(update={"epochs": 5, "learning_rate": 0.2, **settings})
    return [
        learning_rate(chosen, step, STEPS_PER_EPOCH)
        for step in range(chosen.epochs * STEPS_PER_EPOCH)
    ]


def test_constant_is_constant():
    assert _rates() == [0.2] * 50


def test_cosine_is_half_a_cosine_from_the_peak():
    rates = _rates(schedule="cosine")
    expected = [0.2 * (1 + math.cos(math.pi * step / 50)) / 2 for step in range(50)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert rates[0] == 0.2
    assert rates[25] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.001  # the last step still moves something


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("warmup_epochs", [0.5, 2.0])
def test_warm_up_rises_in_equal_steps_from_above_0_to_the_peak(warmup_epochs, schedule):
    rates = _rates(warmup_epochs=warmup_epochs, schedule=schedule)
    steps = int(warmup_epochs * STEPS_PER_EPOCH)
    rising = rates[: steps + 1]
    assert rising == pytest.approx([0.2 * (i + 1) / (steps + 1) for i in range(steps + 1)])
    assert rates[steps] == 0.2
    after = rates[steps:]
    assert after == sorted(after, reverse=True)


def test_warm_up_of_a_part_of_a_step_never_exceeds_the_peak():
    rates = _rates(warmup_epochs=0.55)
    assert all(0 < rate <= 0.2 for rate in rates)
    assert rates[6:] == [0.2] * 44


def test_a_warm_up_longer_than_the_trial_only_rises():
    rates = _rates(warmup_epochs=8.0, schedule="cosine")
    assert rates == sorted(rates)
    assert rates[0] > 0 and rates[-1] < 0.2
    assert not any(math.isnan(rate) for rate in rates)


def test_the_rate_is_that_of_the_step_and_not_of_the_past():
    """A resumed trial asks for a later step first."""
    chosen = SETTINGS.model_copy(update={"epochs": 5, "schedule": "cosine", "warmup_epochs": 1.0})
    later = learning_rate(chosen, 33, STEPS_PER_EPOCH)
    assert [learning_rate(chosen, s, STEPS_PER_EPOCH) for s in (0, 10, 33)][-1] == later
