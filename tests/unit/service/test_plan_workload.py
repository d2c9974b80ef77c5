"""How much work a sweep is."""

from __future__ import annotations

import math

import pytest

from raysel.search.space import Space
from raysel.service.plan.workload import mean, workloads
from raysel.spec.reader import parse
from raysel.spec.sweep import Choice, FloatRange, IntRange, Spec

LAYERS = ["stem", "layer1", "head"]
FILE = """
name: x
task: {data: digits}
model: {name: resnet10t}
strategies: {full: , linear_probe: , surgical: {block: search}}
training: {epochs: 10, batch_size: 32, learning_rate: 0.1}
search: {num_trials: 12, run_single_configurations: true}
confirm: {seeds: 3}
"""


def work(*overrides: str, examples: int = 200) -> dict[str, tuple[float, float, float]]:
    """Trials, epochs, steps by strategy."""
    spec: Spec = parse(FILE, overrides)
    found = workloads(spec, Space(spec, LAYERS), examples, classes=10)
    assert {amount.confirm for amount in found} == {3}
    return {a.strategy: (a.trials, a.epochs, a.steps) for a in found}


def test_an_adaptive_search_is_expected_to_try_all_strategies_alike():
    rate = "training.learning_rate={float: [0.001, 0.1], log: true}"
    assert work(rate) == dict.fromkeys(("full", "linear_probe", "surgical"), (4, 10, 7))


def test_a_search_that_walks_every_point_is_counted_point_by_point():
    # 1 + 1 + 3 blocks: fewer than the 12 trials that were asked for
    assert {name: trials for name, (trials, _, _) in work().items()} == {
        "full": 1,
        "linear_probe": 1,
        "surgical": 3,
    }


def test_equal_shares_are_exact():
    rate = "training.learning_rate={float: [0.001, 0.1], log: true}"
    found = work(rate, "search.allocation=equal", "search.num_trials=11")
    assert [trials for trials, _, _ in found.values()] == [4, 4, 3]


def test_searched_epochs_count_by_their_mean():
    assert work("training.epochs={int: [5, 15]}")["full"][1] == 10


def test_a_strategys_own_batch_and_accumulation_count():
    found = work(
        "strategies.full.training={batch_size: 64}", "training.gradient_accumulation_steps=2"
    )
    # 200 examples: 4 batches of 64, 7 of 32; two batches make a step
    assert (found["full"][2], found["surgical"][2]) == (2, 4)


@pytest.mark.parametrize(
    ("shots", "steps"),
    [("3", 1), ("{categorical: [1, 3, 20]}", 3), ("20", 7), ("50", 7)],
)
def test_a_trial_of_few_shots_has_few_steps(shots, steps):
    # 10 classes, 200 examples, batches of 32; the shots of a distribution count by their mean
    assert work(f"training.shots={shots}")["full"][2] == steps


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        (Choice.model_validate({"categorical": (16, 32, 96)}), 48),
        (IntRange.model_validate({"int": (5, 15)}), 10),
        (FloatRange.model_validate({"float": (1.0, math.e), "log": True}), math.e - 1),
    ],
)
def test_the_mean_of_a_distribution(value, expected):
    assert mean(value) == pytest.approx(expected)


def test_a_set_of_layers_has_at_most_whole_rounds_and_at_least_two():
    greedy = ("search.sampler=greedy", "pruner.kind=none", "search.num_trials=30")
    alone = ("strategies={surgical: {block: search}}", "search.baselines=false")
    spec = parse(FILE, (*greedy, *alone))
    (found,) = workloads(spec, Space(spec, LAYERS), 200, classes=10)
    # 3 layers: rounds of 3, 2 and 1; it ends with the second where no layer is added
    assert (found.trials, found.fewest, found.is_bound) == (6, 5, True)
    spec = parse(FILE, (*greedy, *alone, "search.num_trials=4"))
    (found,) = workloads(spec, Space(spec, LAYERS), 200, classes=10)
    assert (found.trials, found.fewest, found.is_bound) == (3, 3, False)


@pytest.mark.parametrize("epochs", [10, 20])
def test_a_range_test_has_100_steps_or_those_of_a_trial(epochs):
    rate = "training.learning_rate={float: [0.001, 0.1], log: true}"
    given = ("search.first=range_test", f"training.epochs={epochs}", rate)
    spec = parse(FILE, (*given, "strategies.full.training={learning_rate: 0.1}"))
    found = {w.strategy: w for w in workloads(spec, Space(spec, LAYERS), 200, classes=10)}
    assert found["full"].range_epochs == 0
    assert found["surgical"].range_epochs == pytest.approx(min(epochs, 100 / 7))
    assert found["surgical"].epochs_in_all(0.5) == pytest.approx(
        min(epochs, 100 / 7) + (0.5 * found["surgical"].trials + 3) * epochs
    )
