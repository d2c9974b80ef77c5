"""Holm's correction, ranks and the probability of improvement against their references."""

import numpy as np
import pytest
import statistics_oracle as oracle
from few_kit import count
from scipy import stats

from raysel.sweep.statistics.multiple import holm, improvement, ranks


def close(value: object) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def test_holm_agrees_with_its_step_down_procedure() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        p = [float(v) for v in random.uniform(size=random.integers(1, 9)) ** 3]
        if random.uniform() < 0.3:
            p += p[:2]  # ties

        assert list(holm(p)) == close(oracle.holm(p))


def test_holm_rejects_what_the_procedure_of_1979_rejects() -> None:
    p = [0.01, 0.04, 0.03, 0.005]

    # .005 ≤ .05/4, .01 ≤ .05/3, and .03 > .05/2 ends it
    assert [adjusted <= 0.05 for adjusted in holm(p)] == [True, False, False, True]
    assert list(holm(p)) == close([0.03, 0.06, 0.06, 0.02])


def test_holm_of_one_is_itself_and_of_none_is_none() -> None:
    assert list(holm([0.2])) == close([0.2])
    assert list(holm([])) == []
    assert list(holm([0.6, 0.9, 1.0])) == [1.0, 1.0, 1.0]


def test_ranks_agree_with_counting_and_with_scipy() -> None:
    random = np.random.default_rng(1)
    for turn in range(count(3, 40)):
        tasks, strategies = int(random.integers(2, 12)), 3 + turn % 6
        losses = random.uniform(size=(tasks, strategies))
        if turn % 2:
            losses = losses.round(1)  # ties

        found = ranks(losses)

        assert list(found.mean) == close(oracle.mean_ranks(losses))
        assert found.p_value == close(stats.friedmanchisquare(*losses.T).pvalue)
        q = oracle.nemenyi_q(strategies)
        width = q * np.sqrt(strategies * (strategies + 1) / (6 * tasks))
        assert found.critical_difference == close(width)


# Demšar 2006, table 5 (a): q for α = .05
DEMSAR = {3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}


@pytest.mark.parametrize("strategies", range(3, 11))
def test_the_critical_difference_has_the_published_q(strategies: int) -> None:
    losses = np.random.default_rng(2).uniform(size=(6, strategies))

    found = ranks(losses)

    q = found.critical_difference / np.sqrt(strategies * (strategies + 1) / 36)
    assert q == pytest.approx(DEMSAR[strategies], abs=1e-3)  # the table cuts 2.3437 and 2.7278


def test_the_example_of_demsar() -> None:
    """Table 6 of the paper: 14 data sets, four classifiers, areas under the curve."""
    auc = np.array(
        [
            [0.763, 0.768, 0.771, 0.798],
            [0.599, 0.591, 0.590, 0.569],
            [0.954, 0.971, 0.968, 0.967],
            [0.628, 0.661, 0.654, 0.657],
            [0.882, 0.888, 0.886, 0.898],
            [0.936, 0.931, 0.916, 0.931],
            [0.661, 0.668, 0.609, 0.685],
            [0.583, 0.583, 0.563, 0.625],
            [0.775, 0.838, 0.866, 0.875],
            [1.000, 1.000, 1.000, 1.000],
            [0.940, 0.962, 0.965, 0.962],
            [0.619, 0.666, 0.614, 0.669],
            [0.972, 0.981, 0.9751, 0.975],
            [0.957, 0.978, 0.946, 0.970],
        ]
    )

    found = ranks(1 - auc)

    assert found.mean == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)  # the paper's CD


def test_strategies_that_tie_everywhere_differ_in_nothing() -> None:
    found = ranks(np.full((5, 4), 0.3))

    assert list(found.mean) == [2.5] * 4
    assert found.p_value == 1.0


@pytest.mark.parametrize("shape", [(6, 2), (1, 4), (4,)])
def test_ranks_of_fewer_than_two_tasks_or_three_strategies_are_refused(shape: tuple) -> None:
    with pytest.raises(ValueError, match="two tasks and three strategies"):
        ranks(np.zeros(shape))


def runs(random: np.random.Generator, tasks: int) -> tuple[list, list]:
    made = [
        [random.normal(shift, 0.1, random.integers(3, 9)).round(1) for _ in range(tasks)]
        for shift in (0.3, 0.36)
    ]
    return made[0], made[1]


def test_the_probability_of_improvement_counts_every_pair_of_runs() -> None:
    random = np.random.default_rng(4)
    for turn in range(40):
        ours, theirs = runs(random, 1 + turn % 4)

        found = improvement(ours, theirs, seed=turn)

        assert found.probability == close(oracle.probability_of_improvement(ours, theirs))
        assert 0.0 <= found.low <= found.high <= 1.0


def test_a_tie_counts_a_half() -> None:
    assert improvement([[0.2, 0.2]], [[0.2]], seed=0).probability == close(0.5)
    assert improvement([[0.1, 0.2]], [[0.2]], seed=0).probability == close(0.75)


def test_a_strategy_ahead_in_every_run_is_ahead_in_every_draw() -> None:
    found = improvement([[0.1, 0.2], [0.3, 0.1]], [[0.4, 0.5], [0.9, 0.8]], seed=0)

    assert (found.probability, found.low, found.high) == (1.0, 1.0, 1.0)


def test_every_task_counts_alike_whatever_its_runs() -> None:
    found = improvement([[0.1] * 8, [0.5]], [[0.2] * 8, [0.4]], seed=0)

    assert found.probability == close(0.5)


def test_the_interval_is_that_of_another_bootstrap_within_its_error() -> None:
    random = np.random.default_rng(6)
    for turn in range(6):
        ours = [random.normal(0.3, 0.1, 10) for _ in range(3)]
        theirs = [random.normal(0.35, 0.1, 10) for _ in range(3)]

        found = improvement(ours, theirs, seed=turn)

        draws = oracle.bootstrap_of_improvement(ours, theirs, 20_000, seed=100 + turn)
        low, high = np.quantile(draws, [0.025, 0.975])
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_the_interval_mirrors_where_the_strategies_are_exchanged() -> None:
    ours, theirs = runs(np.random.default_rng(9), 3)

    one, other = improvement(ours, theirs, seed=0), improvement(theirs, ours, seed=0)

    assert one.probability == close(1 - other.probability)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=0.03)


def test_one_seed_gives_one_interval() -> None:
    ours, theirs = runs(np.random.default_rng(7), 2)

    assert improvement(ours, theirs, seed=3) == improvement(ours, theirs, seed=3)
