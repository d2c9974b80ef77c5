"""The paired difference against an oracle of the references' formulas, over many tables."""

import math

import numpy as np
import pytest
import statistics_oracle as oracle
from scipy import stats

from raysel.sweep.statistics.differences import overlap_correction, paired_difference

MOST_UNITS = 10_000


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def table(random: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Losses of two strategies; kinds differ in what varies."""
    units, examples = int(random.integers(2, 12)), int(random.integers(2, 60))
    of_units, of_examples, of_both = {
        "all": (0.2, 0.5, 1.0),
        "units": (1.0, 0.0, 0.3),
        "examples": (0.0, 1.0, 0.3),
        "residual": (0.0, 0.0, 1.0),
        "wrong or right": (0.2, 0.5, 1.0),
    }[kind]
    made = [
        random.normal(0, of_units, (units, 1))
        + random.normal(0, of_examples, (1, examples))
        + random.normal(0, of_both, (units, examples))
        + random.normal(0, 0.2)
        for _ in range(2)
    ]
    if kind == "wrong or right":
        made = [(losses > 0.6).astype(float) for losses in made]
    return made[0], made[1]


def tables(kind: str, count: int = 40) -> list[tuple[np.ndarray, np.ndarray, float]]:
    random = np.random.default_rng(sum(map(ord, kind)))
    overlaps = (0.0, 0.1, 1 / 3, 1.0)
    return [(*table(random, kind), overlaps[i % 4]) for i in range(count)]


KINDS = ["all", "units", "examples", "residual", "wrong or right"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_two_sources_of_variation_agrees(kind: str) -> None:
    for ours, theirs, overlap in tables(kind):
        found = paired_difference(ours, theirs, overlap)
        parts = oracle.mean_squares(ours - theirs)
        variance, df = oracle.squared_error_and_df(parts, overlap)

        assert found.mean == close(parts.mean)
        assert (found.units, found.examples) == parts.shape
        if variance < 1e-20:
            assert found.interval() is None
            continue
        assert found.standard_error == close(math.sqrt(variance))
        assert found.df == close(df)
        assert found.p_value == close(oracle.t_p_value(parts.mean, variance, df))
        cautious = parts.units / parts.shape[1] * (1 / parts.shape[0] + overlap)
        cautious += parts.examples / (parts.shape[0] * parts.shape[1])
        assert found.cautious_p_value == close(oracle.t_p_value(parts.mean, cautious, df))
        for confidence in (0.8, 0.95, 0.99, 0.9971):
            expected = oracle.t_interval(parts.mean, variance, df, confidence)
            assert found.interval(confidence) == close(expected)
        for confidence, power in ((0.95, 0.8), (0.99, 0.5), (0.9, 0.95)):
            quantiles = stats.t.ppf((1 + confidence) / 2, df) + stats.t.ppf(power, df)
            assert found.detectable(confidence, power) == close(quantiles * math.sqrt(variance))


@pytest.mark.parametrize("kind", KINDS)
def test_the_units_that_would_show_the_difference_agree_with_counting_upwards(kind: str) -> None:
    most = 150  # counting is slow: beyond, the answer's own number is checked below
    for ours, theirs, overlap in tables(kind, 16):
        parts = oracle.mean_squares(ours - theirs)
        found = paired_difference(ours, theirs, overlap).units_needed(0.95)
        if oracle.squared_error_and_df(parts, overlap)[0] < 1e-20:
            assert found is None
            continue
        expected = oracle.units_needed(parts, overlap, 0.95, most)

        assert expected is None or found == expected
        if expected is None and found is not None:
            assert found > most and shows(parts, overlap, found)
            assert not shows(parts, overlap, found - 1)
        if found is None:
            assert not shows(parts, overlap, MOST_UNITS)


def shows(parts: oracle.MeanSquares, overlap: float, units: int) -> bool:
    variance, df = oracle.squared_error_and_df(parts, overlap, units)
    return abs(parts.mean) > stats.t.ppf(0.975, df) * math.sqrt(variance)


@pytest.mark.parametrize("overlap", [0.0, 0.125, 1.0])
def test_unit_means_alone_give_the_corrected_resampled_t(overlap: float) -> None:
    random = np.random.default_rng(11)
    for units in (2, 3, 5, 10, 30):
        ours, theirs = random.normal([[0.3], [0.32]], 0.05, (2, units))
        d = ours - theirs
        # Nadeau and Bengio 2003, section 3: t = mean / sqrt((1/J + n_test/n_train) s²)
        error = math.sqrt((1 / units + overlap) * d.var(ddof=1))

        found = paired_difference(ours, theirs, overlap)

        assert found.df == close(units - 1)
        assert found.standard_error == close(error)
        assert found.p_value == close(2 * stats.t.sf(abs(d.mean() / error), units - 1))
        half = stats.t.ppf(0.975, units - 1) * error
        assert found.interval() == close((d.mean() - half, d.mean() + half))
        parts = oracle.mean_squares(d[:, None])
        needed = oracle.units_needed(parts, overlap, 0.95, 400)
        assert needed is None or found.units_needed() == needed


def test_without_overlap_unit_means_give_the_paired_t_test_of_scipy() -> None:
    ours, theirs = np.random.default_rng(5).normal(0.3, 0.1, (2, 7))

    found = paired_difference(ours, theirs)

    known = stats.ttest_rel(ours, theirs)
    assert found.p_value == close(known.pvalue)
    assert found.interval(0.9) == close(tuple(known.confidence_interval(0.9)))


def test_shift_and_exchange_of_the_strategies_change_only_the_sign() -> None:
    ours, theirs, _ = tables("all", 1)[0]

    one, other = paired_difference(ours, theirs, 0.2), paired_difference(theirs, ours, 0.2)

    low, high = one.interval()
    assert other.interval() == close((-high, -low))
    assert (one.mean, one.p_value) == (close(-other.mean), close(other.p_value))
    both_moved = paired_difference(ours + 3.0, theirs + 3.0, 0.2)
    assert both_moved.interval() == pytest.approx((low, high), rel=1e-9)


def test_the_order_of_units_and_examples_is_of_no_consequence() -> None:
    random = np.random.default_rng(8)
    ours, theirs, _ = tables("all", 1)[0]
    rows, columns = random.permutation(ours.shape[0]), random.permutation(ours.shape[1])

    found = paired_difference(ours[rows][:, columns], theirs[rows][:, columns], 0.2)

    assert found.interval() == close(paired_difference(ours, theirs, 0.2).interval())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param([0.3], [0.2], id="one unit"),
        pytest.param([[0.0, 1.0, 1.0]], [[0.0, 0.0, 1.0]], id="one unit, per example"),
        pytest.param([0.3, 0.5, 0.4], [0.2, 0.4, 0.3], id="equal differences, by rounding"),
        pytest.param([[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]], id="all equal"),
        pytest.param([[0.0, 1.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 1.0]], id="no difference"),
        pytest.param([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]], id="error of zero"),
    ],
)
def test_no_interval_where_nothing_tells_the_spread(ours: list, theirs: list) -> None:
    found = paired_difference(ours, theirs, 0.1)

    assert found.mean == close(float(np.mean(np.subtract(ours, theirs))))
    assert found.interval(0.95) is None
    assert found.p_value is None
    assert found.detectable(0.95, 0.8) is None
    assert found.units_needed(0.95) is None


def test_one_example_is_its_units_alone() -> None:
    ours, theirs = np.random.default_rng(2).normal(size=(2, 6))

    found = paired_difference(ours[:, None], theirs[:, None], 0.1)

    assert found.interval() == close(paired_difference(ours, theirs, 0.1).interval())


def test_examples_that_all_units_judge_alike_leave_the_examples_part() -> None:
    column = np.array([0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    ours = np.tile(column, (4, 1))

    found = paired_difference(ours, np.zeros_like(ours), 0.5)

    assert found.standard_error == close(math.sqrt(column.var(ddof=1) / column.size))
    assert found.df == close(column.size - 1)


def test_units_whose_examples_are_alike_leave_the_units_part() -> None:
    row = np.array([0.1, 0.3, 0.25, 0.6])
    ours = np.tile(row[:, None], (1, 9))

    found = paired_difference(ours, np.zeros_like(ours), 0.5)

    assert found.standard_error == close(math.sqrt(row.var(ddof=1) * (1 / 4 + 0.5)))
    assert found.df == close(3)


@pytest.mark.parametrize(
    ("train", "held_out", "expected"),
    [(80, 20, 0.25), (20, 80, 0.25), (50, 50, 1.0), (3, 1, 1 / 3), (0, 20, 0.0), (20, 0, 0.0)],
)
def test_the_correction_is_the_smaller_part_over_the_larger(
    train: int, held_out: int, expected: float
) -> None:
    assert overlap_correction(train, held_out) == close(expected)


def test_neither_part_at_all_needs_no_correction() -> None:
    assert overlap_correction(0, 0) == 0.0


@pytest.mark.parametrize("truth", [0.0, 0.3])
def test_the_interval_covers_the_truth_where_units_and_examples_both_vary(truth: float) -> None:
    random = np.random.default_rng(3)
    units, examples, sweeps = 5, 100, 800
    covered = 0
    for _ in range(sweeps):
        d = (
            truth
            + random.normal(0, 0.1, (units, 1))
            + random.normal(0, 1.0, (1, examples))
            + random.normal(0, 1.0, (units, examples))
        )
        low, high = paired_difference(d, np.zeros_like(d)).interval(0.95)
        covered += low <= truth <= high
    # three standard errors of a share of .95 are .023; a t over units alone covers some .55
    assert 0.927 <= covered / sweeps <= 1.0


@pytest.mark.parametrize("units", [3, 5, 10])
def test_an_interval_ends_where_the_units_hardly_vary_and_overlap_fully(units: int) -> None:
    """The residual taken from the overlap's share too left degrees of freedom below one, and
    half widths of up to 10^11 standard deviations."""
    random = np.random.default_rng(4)
    spread = math.sqrt((0.3**2 + 1 / units) / 400)
    for _ in range(200):
        d = random.normal(0, 0.3, (1, 400)) + random.normal(0, 1.0, (units, 400))

        found = paired_difference(d, np.zeros_like(d), overlap=1.0)

        low, high = found.interval()
        assert found.df > 1.3
        assert (high - low) / 2 < 25 * spread
