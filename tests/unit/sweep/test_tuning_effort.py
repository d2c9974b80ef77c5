"""On how much tuning a configuration rests."""

from __future__ import annotations

from typing import Any

import pytest
from controller_kit import LAYERS, sweep

from raysel.record.state import TrialState
from raysel.search.space import Space
from raysel.sweep.pairwise import has_less
from raysel.sweep.ranking import leaders
from raysel.sweep.results import StrategyEffort
from raysel.sweep.tuning_effort import efforts


def trial(number: int, rate: float, value: float | None, status: str = "COMPLETE", **more: Any):
    config = {"strategy": "full", "parameters": {}, "training": {"learning_rate": rate}}
    return TrialState(
        f"{number:04d}",
        number=number,
        strategy="full",
        status=status,
        value=value,
        config=config | {"seed": more.pop("seed", 0)},
        searched={"learning_rate": rate},
        epochs=({"epoch": 1},) * more.pop("epochs", 4),
    )


def effort(*trials: TrialState, **settings: str) -> StrategyEffort:
    spec = sweep(*(f"{key.replace('__', '.')}={value}" for key, value in settings.items()))
    search = [one for one in trials if one.phase == "search"]
    best = list(leaders(search, "val/error").values())
    return efforts(spec, Space(spec, LAYERS), trials, best)["full"]


def test_trials_are_counted_by_how_they_ended():
    found = effort(
        trial(0, 0.01, 0.3),
        trial(1, 0.02, 0.4, "PRUNED", epochs=1),
        trial(2, 0.03, None, "FAILED", epochs=2),
        trial(3, 0.01, 0.2, seed=10_000),
        trial(4, 0.05, None, "INTERRUPTED", epochs=3),
    )
    assert (found.trials, found.complete, found.pruned, found.failed) == (4, 2, 1, 1)
    assert (found.replicates, found.epochs, found.searched) == (1, 14, 1)
    assert not found.from_pruned and found.at_edge == ()


def test_the_steps_of_its_range_test_are_named_beside_its_trials():
    test = TrialState("range-full", 0, "range", "full", end_metrics={"range/steps": 37.0})
    found = effort(trial(0, 0.01, 0.3), test)
    assert (found.trials, found.range_steps) == (1, 37)
    assert "range_steps" not in effort(trial(0, 0.01, 0.3)).model_dump()


def test_a_best_trial_that_was_pruned_and_one_at_an_edge_are_named():
    found = effort(trial(0, 1e-4, 0.3, "PRUNED"))
    assert found.from_pruned and found.at_edge == ("learning_rate=0.0001",)
    assert found.curve is None


@pytest.mark.parametrize(("rate", "edge"), [(1e-4, True), (1.1e-4, True), (2e-4, False)])
def test_the_edge_of_a_logarithmic_range_is_a_share_of_its_decades(rate, edge):
    assert bool(effort(trial(0, rate, 0.3)).at_edge) is edge


@pytest.mark.parametrize(
    ("best", "rates", "words"),
    [
        (0.002, (0.002, 0.004, 0.02, 0.03), "learning_rate=0.002, the lowest of 4 tried"),
        (0.03, (0.002, 0.004, 0.02, 0.03), "learning_rate=0.03, the highest of 4 tried"),
        (0.004, (0.002, 0.004, 0.02, 0.03), None),
        (0.002, (0.002, 0.002, 0.02, 0.03), None),  # three are too few to say so
        (1e-4, (1e-4, 0.004, 0.02, 0.03), None),  # at the edge of the range, which is said instead
    ],
)
def test_a_best_value_beyond_which_nothing_was_tried_is_named(best, rates, words):
    trials = [trial(n, rate, 0.1 if rate == best else 0.3) for n, rate in enumerate(rates)]
    assert effort(*trials).outermost == ((words,) if words else ())


def test_the_curve_is_best_so_far_for_a_sampler_that_learns_and_expected_for_one_that_does_not():
    trials = [trial(n, 0.01, value) for n, value in enumerate((0.3, 0.4, 0.2))]
    tpe = effort(*trials).curve
    assert tpe is not None and tpe.estimator == "best_so_far" and tpe.best == (0.3, 0.3, 0.2)
    random = effort(*trials, search__sampler="random").curve
    assert random is not None and random.estimator == "expected"
    assert random.best == pytest.approx((0.3, (0.2 + 0.2 + 0.3) / 3, 0.2))


@pytest.mark.parametrize(
    ("ours", "theirs", "less"),
    [
        ((5, 5), (6, 6), False),
        ((4, 4), (6, 6), True),
        ((6, 0), (6, 1), True),
        ((6, 0), (6, 0), False),
    ],
)
def test_less_effort_is_two_trials_fewer_or_none_complete(ours, theirs, less):
    first, second = (
        StrategyEffort(strategy="x", trials=trials, complete=complete)
        for trials, complete in (ours, theirs)
    )
    assert has_less(first, second) is less
    assert not has_less(None, second) and not has_less(first, None)


def test_trials_with_two_models_are_counted_by_their_cost():
    dear = StrategyEffort(strategy="dear", trials=3, complete=3, cost=2.0)

    def cheap(trials: int) -> StrategyEffort:
        return StrategyEffort(strategy="cheap", trials=trials, complete=trials)

    assert not has_less(cheap(6), dear) and not has_less(dear, cheap(6))
    assert has_less(cheap(4), dear)  # with one more 5, against 3 * 2
    assert not has_less(cheap(5), dear)
    assert has_less(dear, cheap(9)) and not has_less(dear, cheap(8))  # with one more 4 * 2
