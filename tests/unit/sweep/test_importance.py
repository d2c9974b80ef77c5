"""Which searched values decided: made-up trials in which it is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import optuna
import pytest
from controller_kit import LAYERS, sweep

from raysel.record.state import TrialState
from raysel.search.space import Space
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.importance import FEWEST, importance

Value = Callable[[TrialConfig], float]


def by_rate(config: TrialConfig) -> float:
    return math.log10(config.training.learning_rate)


def by_decay(config: TrialConfig) -> float:
    return float(config.parameters.get("ema_decay", 0.7))


def searched(value: Value, count: int = 90, *overrides: str) -> tuple:
    """The arguments of `importance` after so many complete trials at random."""
    spec = sweep(*overrides)
    space = Space(spec, LAYERS)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    noise, trials = np.random.default_rng(0), []
    for number in range(count):
        asked = study.ask()
        config = space.suggest(asked)
        state = TrialState(f"{number:04d}", number, strategy=config.strategy, status="COMPLETE")
        seen = value(config) + 0.01 * noise.normal()
        trials.append(replace(state, suggested=asked.params, value=seen))
    return spec, space, trials


def test_the_value_that_decides_comes_first():
    everything, *own = importance(*searched(by_rate))
    assert everything.strategy is None
    assert everything.trials == 90
    assert next(iter(everything.of)) == "learning_rate"
    assert everything.of["learning_rate"] > 0.8
    assert {row.strategy for row in own} <= {"surgical", "bvg_ls", "full", "linear_probe"}
    assert all(sum(row.of.values()) == pytest.approx(1) for row in [everything, *own])


def test_a_strategys_own_values_are_weighed_among_its_own_trials():
    rows = {row.strategy: row.of for row in importance(*searched(by_decay))}
    assert set(rows[None]) == {"strategy", "learning_rate"}  # what all of them search
    assert set(rows["bvg_ls"]) == {"learning_rate", "ema_decay"}
    assert rows["bvg_ls"]["ema_decay"] > 0.8
    assert "full" not in rows  # it searches one value


def test_a_single_strategy_has_one_row():
    only = "strategies={bvg_ls: {ema_decay: {float: [0.5, 0.99]}}}"
    (row,) = importance(*searched(by_decay, 30, only, "search.baselines=false"))
    assert row.strategy is None
    assert next(iter(row.of)) == "ema_decay"


def test_few_trials_equal_values_and_pruned_trials_say_nothing():
    spec, space, trials = searched(by_rate, FEWEST)
    assert importance(spec, space, trials) != []
    assert importance(spec, space, trials[1:]) == []
    assert importance(spec, space, [replace(trial, value=0.5) for trial in trials]) == []
    assert importance(spec, space, [replace(t, status="PRUNED") for t in trials]) == []
