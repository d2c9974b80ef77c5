"""The verdict over made-up sweeps of known truth: a short version of the benchmark."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from few_kit import count, few

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from verdict_calibration import WORLDS, row

SWEEPS = count(60, 150)
BY_NAME = {world.name: world for world in WORLDS}


def most(rate: float) -> float:
    """What a rate does not exceed among so many sweeps, but for one case in a thousand."""
    return rate + 3.1 * (rate * (1 - rate) / SWEEPS) ** 0.5


@pytest.mark.parametrize("name", few("equal", "equal, one split"))
def test_equal_strategies_are_seldom_said_to_differ(name):
    found = row(BY_NAME[name], SWEEPS)
    assert found["false claims"] <= most(0.05)
    assert found["false in the table"] <= most(0.05)


@pytest.mark.slow
def test_the_interval_holds_the_true_difference():
    found = row(BY_NAME["4 points"], SWEEPS)
    assert found["coverage"] >= 1 - most(0.05)
    assert 0 < found["shown"] < 1


@pytest.mark.slow
def test_the_rule_before_was_wrong_so_often_that_the_test_would_see_it():
    assert row(BY_NAME["equal"], SWEEPS)["the rule before"] > most(0.05)
