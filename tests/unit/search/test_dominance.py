"""Non-dominated sorting with an epsilon net, and successive halving by it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import optuna
import pytest
from optuna.study._multi_objective import _fast_non_domination_rank

from raysel.search.dominance import is_dominated, objectives_of, order_of
from raysel.search.dominance_pruner import DominancePruner
from raysel.search.space import STRATEGY
from raysel.spec.sweep import PrunerSpec


def _points(seed: int, count: int = 40, objectives: int = 2) -> np.ndarray:
    """Of whole numbers, so that many are equal in something."""
    return np.random.default_rng(seed).integers(0, 12, (count, objectives)).astype(float)


def _dominates(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return all(ours <= theirs) and any(ours < theirs)


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_dominated_is_what_another_point_beats_by_the_definition(seed, objectives):
    points = _points(seed, objectives=objectives)
    expected = [any(_dominates(other, point) for other in points) for point in points]
    assert is_dominated(points).tolist() == expected


def test_of_equal_points_none_dominates_the_other():
    assert is_dominated(np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 3.0]])).tolist() == [0, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_goes_front_after_front_as_optunas_ranks_have_them(seed):
    points = _points(seed, objectives=2 + seed % 2)
    ranks = _fast_non_domination_rank(points)
    order = order_of(points)
    assert sorted(order) == list(range(len(points)))
    assert [ranks[index] for index in order] == sorted(ranks)


def test_within_a_front_the_best_in_the_first_objective_and_then_the_farthest():
    # scaled to 0..1: a (0, 1), b (1, 0), c (0.5, 0.5), d (0.4, 0.7); e is dominated by c
    front = {"a": (0, 90), "b": (10, 0), "c": (5, 45), "d": (4, 63), "e": (5, 46)}
    names = list(front)
    order = order_of(np.array(list(front.values()), dtype=float))
    # after a and b, c is 0.71 from either, d 0.5 from a; a scale of seconds alone would take d
    assert [names[index] for index in order] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("seed", range(3))
def test_each_point_of_a_front_is_the_farthest_from_those_before(seed):
    first = np.random.default_rng(seed).permutation(20) / 20
    front = np.stack([first, np.sqrt(1 - first)], axis=1)
    scaled = (front - front.min(0)) / (front.max(0) - front.min(0))
    order = order_of(front)
    for place in range(1, len(order)):
        near = [min(math.dist(scaled[i], scaled[j]) for j in order[:place]) for i in range(20)]
        assert near[order[place]] == pytest.approx(max(near))


def test_no_more_than_asked_for_are_ordered():
    points = _points(1)
    assert order_of(points, 7) == order_of(points)[:7]


# --- what a trial has reached ----------------------------------------------------------

ROWS = {
    1: {"val/error": 0.5, "val/loss": 0.9, "cost/seconds": 2.0, "cost/updated_params": 10.0},
    2: {"val/error": 0.2, "val/loss": 0.8, "cost/seconds": 3.0, "cost/updated_params": 20.0},
    3: {"val/error": 0.3, "val/loss": 0.4, "cost/seconds": 4.0, "cost/updated_params": 60.0},
}


def test_measures_are_those_of_the_kept_epoch_and_costs_those_of_all_epochs():
    metrics = ("val/error", "val/loss", "cost/seconds", "cost/updated_params")
    assert objectives_of(metrics, ROWS, 2) == {
        "val/error": 0.2,
        "val/loss": 0.8,
        "cost/seconds": 9.0,
        "cost/updated_params": 30.0,
    }


def test_a_cost_that_an_epoch_lacks_is_not_known():
    rows = ROWS | {4: {"val/error": 0.1, "cost/seconds": None}}
    assert objectives_of(("val/error", "cost/seconds"), rows, 4) == {
        "val/error": 0.1,
        "cost/seconds": None,
    }


# --- the pruner ----------------------------------------------------------


def _study() -> optuna.Study:
    return optuna.create_study(directions=["minimize", "minimize"])


def _trial(study: optuna.Study, arm: str = "full") -> optuna.Trial:
    study.enqueue_trial({STRATEGY: arm})
    trial = study.ask()
    trial.suggest_categorical(STRATEGY, ["full", "bias_only"])
    return trial


def _pruned(points: list[tuple[float, float]], spec: PrunerSpec, epoch: int = 1) -> list[bool]:
    """Whether each trial is pruned as it comes to an epoch, one after the other."""
    study, pruner = _study(), DominancePruner(spec)
    return [pruner.prune(_trial(study), epoch, point) for point in points]


HALVING = PrunerSpec(kind="asha", grace_epochs=1, reduction_factor=2)


def test_a_trial_that_is_worse_but_cheaper_than_the_best_goes_on():
    points = [(0.1, 9.0), (0.5, 1.0), (0.6, 9.5), (0.6, 9.6)]
    # the second is one of 2 and the first is kept; of 3 the first; of 4 the first two
    assert _pruned(points, HALVING) == [False, True, True, True]
    assert _pruned([*points[:1], *points[2:], points[1]], HALVING) == [False, True, True, False]


def test_of_as_many_as_the_reduction_factor_one_goes_on():
    every = [(0.1 * k, 1.0 - 0.1 * k) for k in range(1, 6)]
    pruned = _pruned(every, PrunerSpec(kind="asha", grace_epochs=1, reduction_factor=5))
    assert pruned == [False, True, True, True, True]


def test_rungs_are_at_powers_of_the_reduction_factor_times_the_grace_epochs():
    study = _study()
    pruner = DominancePruner(PrunerSpec(kind="asha", grace_epochs=2, reduction_factor=3))
    good, bad = _trial(study), _trial(study)
    epochs = range(1, 20)
    assert not any(pruner.prune(good, epoch, (0.1, 0.1)) for epoch in epochs)
    assert [epoch for epoch in epochs if pruner.prune(bad, epoch, (0.2, 0.2))] == [2, 6, 18]


def test_equal_trials_go_on_alike():
    assert _pruned([(0.1, 1.0)] * 4, HALVING) == [False] * 4


@pytest.mark.parametrize("compare, expected", [("within_strategy", False), ("all", True)])
def test_trials_are_compared_within_their_strategy_or_with_all(compare, expected):
    spec = HALVING.model_copy(update={"compare": compare})
    study, pruner = _study(), DominancePruner(spec)
    assert not pruner.prune(_trial(study, "full"), 1, (0.1, 0.1))
    assert pruner.prune(_trial(study, "bias_only"), 1, (0.2, 0.2)) is expected


def test_none_prunes_nothing():
    assert not any(_pruned([(k, k) for k in range(8)], PrunerSpec(kind="none")))


def test_what_was_reached_is_kept_with_the_trial_so_that_a_rebuilt_study_decides_alike():
    points = list(itertools.product((0.1, 0.4, 0.3), (1.0, 3.0, 2.0)))
    whole = _pruned(points, HALVING)
    study = _study()
    before = [DominancePruner(HALVING).prune(_trial(study), 1, point) for point in points[:5]]
    again = _study()
    again.add_trials(study.get_trials())
    after = [DominancePruner(HALVING).prune(_trial(again), 1, point) for point in points[5:]]
    assert before + after == whole
