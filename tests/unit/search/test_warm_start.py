"""TPE with the trials of earlier sweeps: the same as Optuna's own with these trials added."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import optuna
import pytest
from controller_kit import LAYERS, sweep
from optuna.trial import TrialState, create_trial

from raysel.search.prior import (
    PlacedTrial,
    Prior,
    PriorArm,
    PriorSweep,
    believed,
    key_of,
    placed,
    places,
    prediction,
    prior_from,
    spread,
)
from raysel.search.samplers import sampler
from raysel.search.space import STRATEGY, Space
from raysel.search.study import study_of
from raysel.search.warm_start import _distributions

SPEC = sweep("search.prior=[before]", "search.num_trials=40")
SPACE = Space(SPEC, LAYERS)
SEARCHED = SPACE.searched["bvg_ls"]
RATE, DECAY = "bvg_ls.learning_rate", "bvg_ls.ema_decay"


def configurations(count: int, seed: int = 0) -> list[dict[str, float]]:
    draw = np.random.default_rng(seed)
    rates, decays = 10 ** draw.uniform(-4, -1, count), draw.uniform(0.5, 0.99, count)
    return [{RATE: float(r), DECAY: float(d)} for r, d in zip(rates, decays, strict=True)]


def error(values: dict[str, Any]) -> float:
    return abs(np.log10(values[RATE]) + 2) + values[DECAY]


def keys(values: list[float]) -> list[tuple[float, float, float]]:
    return [key_of(True, 4, value) for value in values]


def known(count: int = 30) -> PriorArm:
    own = configurations(count)
    return PriorArm(placed(list(zip(own, keys([error(one) for one in own]), strict=True))))


def prior(arm: PriorArm) -> Prior:
    return prior_from([PriorSweep("before", "", {"bvg_ls": arm})], SPEC.search, SPACE)


def study(own: list[dict[str, float]], value: Any = error) -> optuna.Study:
    made = study_of(SPEC, SPACE, ())
    for one in own:
        made.add_trial(complete(one, value(one)))
    return made


def complete(values: dict[str, float], value: float) -> optuna.trial.FrozenTrial:
    params = {STRATEGY: "bvg_ls"} | values
    return create_trial(value=value, params=params, distributions=_distributions(SPACE, params))


def suggested(made: optuna.Study, chosen: optuna.samplers.BaseSampler) -> dict[str, Any]:
    """The next suggestion for the arm, after what waits."""
    for trial in made.get_trials(states=(TrialState.WAITING,)):
        made._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    made.sampler = chosen
    made.enqueue_trial({STRATEGY: "bvg_ls"})
    trial = made.ask()
    SPACE.suggest(trial)
    return trial.params


# --- places -----------------------------------------------------------------------------------


def test_places_are_shares_and_equals_share_one():
    assert places(keys([0.3, 0.1, 0.3, 0.2])) == [0.75, 0.125, 0.75, 0.375]


def test_pruned_trials_come_after_complete_ones_the_later_first():
    order = [key_of(True, 9, 0.9), key_of(False, 4, 0.5), key_of(False, 4, 0.6)]
    order.append(key_of(False, 2, 0.1))
    assert sorted(order) == order


def test_what_tpe_is_given_is_spread_over_the_order():
    trials = [PlacedTrial({}, place) for place in range(10)]
    assert [t.place for t in spread(trials, 4)] == [0, 2, 5, 7]
    assert spread(trials, 20) == trials
    assert spread(trials, 0) == []


# --- TPE --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 14])
def test_a_suggestion_is_optunas_own_with_the_earlier_trials_added(count):
    """The oracle: `study.add_trial`, with places for values."""
    own, arm = configurations(count, seed=1), prior(known())
    given = arm.sweeps[0].arms["bvg_ls"].given
    assert len(given) == 10  # the arm's share of 40
    differs = []
    for number in range(50, 54):
        found = suggested(study(own), sampler(SPEC.search, SPACE, number, "bvg_ls", arm))
        added = optuna.create_study()
        for trial, place in zip(given, places(keys([t.place for t in given])), strict=True):
            added.add_trial(complete(dict(trial.values), place))
        for one, place in zip(own, places(keys([error(one) for one in own])), strict=True):
            added.add_trial(complete(one, place))
        plain = sampler(SPEC.search, SPACE, number, "bvg_ls")
        assert found == suggested(added, plain)
        alone = sampler(SPEC.search, SPACE, number, "bvg_ls")
        differs.append(found != suggested(study(own), alone))
    assert any(differs)


def test_one_that_is_not_believed_changes_nothing():
    own, arm = configurations(14, seed=1), prior(known())
    turned = study(own, lambda one: -error(one))
    found = suggested(turned, sampler(SPEC.search, SPACE, 50, "bvg_ls", arm))
    again = study(own, lambda one: -error(one))
    assert found == suggested(again, sampler(SPEC.search, SPACE, 50, "bvg_ls"))
    assert "raysel:prior" not in turned.get_trials()[-1].system_attrs


def test_a_suggestion_says_of_which_sweeps_it_comes():
    made, arm = study(configurations(3, seed=1)), prior(known())
    suggested(made, sampler(SPEC.search, SPACE, 50, "bvg_ls", arm))
    note = made.get_trials()[-1].system_attrs["raysel:prior"]
    assert note == {"as": "warm-up", "sweeps": ["before"]}


@pytest.mark.parametrize("override", ["search.sampler=random", "search.allocation=adaptive"])
def test_where_tpe_does_not_compare_within_an_arm_it_is_given_nothing(override):
    spec = sweep("search.prior=[before]", "search.num_trials=40", override)
    found = prior_from([PriorSweep("before", "", {"bvg_ls": known()})], spec.search, SPACE)
    assert found.sweeps[0].arms["bvg_ls"].warm == 0
    assert len(found.points) == 1


# --- belief -----------------------------------------------------------------------------------


def test_a_prediction_is_the_mean_place_of_the_three_nearest():
    arm = PriorArm(
        tuple(
            PlacedTrial({RATE: rate, DECAY: 0.7}, place)
            for rate, place in ((1e-4, 0.1), (1e-3, 0.3), (1e-2, 0.5), (1e-1, 0.9))
        )
    )
    found = prediction(arm, SEARCHED, [{RATE: 2e-4, DECAY: 0.7}, {RATE: 5e-2, DECAY: 0.9}])
    assert found == pytest.approx([(0.1 + 0.3 + 0.5) / 3, (0.3 + 0.5 + 0.9) / 3])


def test_options_that_differ_are_further_than_any_single_number():
    searched = SPACE.searched["surgical"]
    block, rate = "surgical.block", "surgical.learning_rate"
    near = [PlacedTrial({block: "stem", rate: r}, 0.2) for r in (1e-4, 2e-4, 3e-4)]
    other = [PlacedTrial({block: "head", rate: 1e-1}, 0.9)]
    arm = PriorArm((*near, *other))
    assert prediction(arm, searched, [{block: "stem", rate: 9e-2}]) == pytest.approx([0.2])


def test_belief_goes_by_concordant_minus_discordant_pairs():
    """Kendall's tau-b by hand, over made-up trials of every kind of agreement."""
    arm, outcomes = known(), set()
    for seed in range(30):
        draw, own = np.random.default_rng(seed), configurations(6, seed)
        seen = [error(one) + draw.normal(0, 2) for one in own]
        predicted = prediction(arm, SEARCHED, own)
        pairs = list(itertools.combinations(range(6), 2))
        first = np.array([np.sign(predicted[i] - predicted[j]) for i, j in pairs])
        second = np.array([np.sign(seen[i] - seen[j]) for i, j in pairs])
        tau = (first * second).sum() / math.sqrt(np.abs(first).sum() * np.abs(second).sum())
        trials = [complete(one, value) for one, value in zip(own, seen, strict=True)]
        outcomes.add(believed(arm, SEARCHED, trials))
        assert believed(arm, SEARCHED, trials) == (tau >= 0.2 - 1e-12)
    assert outcomes == {True, False}


def test_nothing_to_compare_is_believed():
    own = configurations(3)
    assert believed(known(), SEARCHED, [])
    assert believed(known(), SEARCHED, [complete(own[0], 0.5)])
    assert believed(known(), SEARCHED, [complete(one, 0.5) for one in own])
