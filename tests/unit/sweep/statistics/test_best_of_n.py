"""Expected best against every subset, counted."""

import numpy as np
import pytest
import statistics_oracle as oracle

from raysel.sweep.statistics.best_of_n import best_so_far, expected_best


@pytest.mark.parametrize("count", range(1, 13))
def test_mean_and_band_are_those_of_all_subsets(count: int) -> None:
    random = np.random.default_rng(count)
    for turn in range(4):
        values = [float(v) for v in random.uniform(size=count)]
        if turn % 2:
            values = [round(v, 1) for v in values]  # ties

        found, counted = expected_best(values), oracle.best_of_all_subsets(values)

        assert list(found.best) == pytest.approx(counted.mean, rel=1e-9)
        assert list(found.low) == pytest.approx(counted.low, rel=1e-12)
        assert list(found.high) == pytest.approx(counted.high, rel=1e-12)


def test_ten_values_have_their_quantiles_where_a_tenth_ends() -> None:
    values = [float(v) for v in range(10)]

    found = expected_best(values)

    # of one out of ten: the first holds a tenth of the chance, the ninth the ninth tenth
    assert (found.low[0], found.high[0]) == (0.0, 8.0)


@pytest.mark.parametrize("count", [20, 30, 40, 50, 100])
def test_round_shares_of_more_values_keep_their_quantiles(count: int) -> None:
    found = expected_best([float(v) for v in range(count)])

    assert (found.low[0], found.high[0]) == (count // 10 - 1, 9 * count // 10 - 1)


def test_the_ends_are_the_mean_and_the_smallest() -> None:
    values = [float(v) for v in np.random.default_rng(0).uniform(size=400)]

    found = expected_best(values)

    assert len(found.best) == len(found.low) == len(found.high) == 400
    assert found.best[0] == pytest.approx(np.mean(values), rel=1e-9)
    assert found.best[-1] == found.low[-1] == found.high[-1] == min(values)
    # of 399 out of 400, the smallest is left out once in 400 times
    first, second = sorted(values)[:2]
    assert found.best[-2] == pytest.approx((399 * first + second) / 400, rel=1e-9)


def test_more_trials_never_expect_worse_and_the_band_holds_its_order() -> None:
    values = [float(v) for v in np.random.default_rng(1).uniform(size=25).round(2)]

    found = expected_best(values)

    assert np.all(np.diff(found.best) <= 1e-12)
    assert all(low <= high for low, high in zip(found.low, found.high, strict=True))


def test_the_order_of_trials_is_of_no_consequence() -> None:
    values = [0.3, 0.1, 0.2, 0.25]

    assert expected_best(values).best == pytest.approx(expected_best(sorted(values)).best)


def test_best_so_far_is_the_running_minimum() -> None:
    random = np.random.default_rng(2)
    for count in (1, 2, 7, 30):
        values = [float(v) for v in random.uniform(size=count)]

        found = best_so_far(values)

        assert list(found.best) == [min(values[: n + 1]) for n in range(count)]
        assert list(found.best) == list(np.minimum.accumulate(values))


def test_the_two_curves_are_named_apart() -> None:
    assert expected_best([0.1, 0.2]).estimator != best_so_far([0.1, 0.2]).estimator
