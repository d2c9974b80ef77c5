"""What a comparison of two strategies counts as a unit, and what it may claim."""

import numpy as np
import pytest
import statistics_oracle as oracle
from confirm_kit import by_example, effort, entry, runs_of

from raysel.sweep.pairwise import Comparison, Rule, Runs, compare
from raysel.sweep.statistics.differences import paired_difference

FULL = [0.300, 0.320, 0.280, 0.310, 0.290]
CLEAR = [e - d for e, d in zip(FULL, [0.050, 0.052, 0.048, 0.051, 0.049], strict=True)]
CLOSE = [e - d for e, d in zip(FULL, [0.050, -0.040, 0.030, -0.020, 0.010], strict=True)]

PAIR = ("ours", "full")


def only(runs: Runs, **asked: object) -> Comparison:
    (found,) = compare(runs, [PAIR], Rule(**asked))
    return found


def of(errors: list, full: list = FULL, **more: object) -> Comparison:
    return only(runs_of(entry("ours", errors), entry("full", full), **more))


def student(d: list, overlap: float = 0.0, level: float = 0.05) -> tuple[float, float]:
    """By the oracle, of differences a unit."""
    parts = oracle.mean_squares(np.asarray(d)[:, None])
    variance, df = oracle.squared_error_and_df(parts, overlap)
    return oracle.t_interval(parts.mean, variance, df, 1 - level)


def minus(a: list, b: list) -> list:
    return [x - y for x, y in zip(a, b, strict=True)]


# --- the unit -----------------------------------------------------------------------------------


def test_runs_of_one_split_are_averaged_over_their_seeds() -> None:
    splits, seeds = [1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 0, 1]
    ours = entry("ours", [0.20, 0.24, 0.26, 0.28, 0.19, 0.25], splits, seeds)
    full = entry("full", [0.30, 0.32, 0.31, 0.37, 0.33, 0.27], splits, seeds)

    found = only(runs_of(ours, full, splits=3))

    assert found.units == 3  # and not six
    expected = student(minus([0.22, 0.27, 0.22], [0.31, 0.34, 0.30]))
    assert (found.low, found.high) == pytest.approx(expected)


def test_a_split_counts_once_however_many_seeds_it_has() -> None:
    ours = entry("ours", [0.1, 0.1, 0.1, 0.1, 0.3, 0.2], [1, 1, 1, 1, 2, 3])
    full = entry("full", [0.3, 0.3, 0.3], [1, 2, 3])

    found = only(runs_of(ours, full, splits=3))

    assert found.difference == pytest.approx((-0.2 + 0.0 - 0.1) / 3)


def test_pairs_are_splits_and_not_positions() -> None:
    order = [3, 0, 4, 1, 2]
    shuffled = entry("ours", [CLEAR[i] for i in order], [i + 1 for i in order])

    found = only(runs_of(shuffled, entry("full", FULL)))

    assert found == of(CLEAR)


def test_only_splits_that_both_have_are_paired() -> None:
    ours = entry("ours", [0.20, 0.21, 0.25, 0.9], [2, 3, 4, 7])

    found = only(runs_of(ours, entry("full", FULL)))

    assert found.units == 3
    assert found.difference == pytest.approx((0.20 + 0.21 + 0.25 - 0.32 - 0.28 - 0.31) / 3)


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_a_run_without_a_finite_error_is_no_pair(missing: float | None) -> None:
    found = of([*CLEAR[:4], missing])

    assert found.units == 4
    assert found.difference == pytest.approx(np.mean(minus(CLEAR[:4], FULL[:4])))


def test_strategies_without_a_common_split_share_no_run() -> None:
    found = only(runs_of(entry("ours", [0.1, 0.2], [1, 2]), entry("full", [0.3, 0.4], [3, 4])))

    assert (found.outcome, found.difference, found.units) == ("no_runs", None, 0)


def test_a_strategy_without_runs_shares_none() -> None:
    assert only(runs_of(entry("full", FULL))).outcome == "no_runs"


def test_overlapping_training_parts_widen_the_interval() -> None:
    found = of(CLOSE, overlap=0.25)

    assert (found.low, found.high) == pytest.approx(student(minus(CLOSE, FULL), overlap=0.25))


# --- test examples ------------------------------------------------------------------------------


def tables(units: int = 5, examples: int = 80, gain: float = 0.3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    hard = random.normal(0, 1, examples)
    missed = {"ours": -gain, "full": 0.0}
    return {
        name: (hard + shift + random.normal(0, 0.7, (units, examples)) > 0).astype(float)
        for name, shift in missed.items()
    }


def test_test_examples_are_a_second_source_of_variation() -> None:
    known = tables()
    entries, losses = by_example(known)

    found = only(runs_of(*entries, losses=losses, overlap=0.2))

    assert (found.units, found.examples) == (5, 80)
    parts = oracle.mean_squares(known["ours"] - known["full"])
    variance, df = oracle.squared_error_and_df(parts, 0.2)
    assert (found.low, found.high) == pytest.approx(
        oracle.t_interval(parts.mean, variance, df, 0.95)
    )
    assert found.p == pytest.approx(oracle.t_p_value(parts.mean, variance, df))


def test_losses_of_an_example_are_averaged_over_the_seeds_of_a_split() -> None:
    known = tables(units=6)
    entries, losses = by_example(known, splits=[1, 1, 2, 2, 3, 3])

    found = only(runs_of(*entries, losses=losses, splits=3))

    averaged = {name: t.reshape(3, 2, -1).mean(axis=1) for name, t in known.items()}
    expected = paired_difference(averaged["ours"], averaged["full"])
    assert (found.low, found.high) == pytest.approx(expected.interval())
    assert found.examples == 80


@pytest.mark.parametrize("lost", ["one run's", "all"])
def test_without_every_runs_losses_the_runs_means_are_compared(lost: str) -> None:
    known = tables()
    entries, losses = by_example(known)
    if lost == "all":
        losses = {}
    else:
        del losses[entries[0].runs[2].id]

    found = only(runs_of(*entries, losses=losses))

    assert (found.units, found.examples) == (5, 0)
    means = {name: list(t.mean(axis=1)) for name, t in known.items()}
    assert (found.low, found.high) == pytest.approx(student(minus(means["ours"], means["full"])))


def test_a_split_with_one_of_two_runs_losses_is_compared_by_its_means() -> None:
    entries, losses = by_example(tables(units=6), splits=[1, 1, 2, 2, 3, 3])
    del losses[entries[0].runs[2].id]

    assert only(runs_of(*entries, losses=losses, splits=3)).examples == 0


def test_losses_on_test_parts_of_unlike_size_are_not_paired_example_by_example() -> None:
    entries, losses = by_example(tables())
    first = entries[0].runs[0].id
    losses[first] = losses[first][:40]

    assert only(runs_of(*entries, losses=losses)).examples == 0


# --- what is claimed ----------------------------------------------------------------------------


def test_better_and_worse_are_seen_from_the_first() -> None:
    assert of(CLEAR).outcome == "better"
    assert of(FULL, CLEAR).outcome == "worse"


def test_an_interval_that_holds_zero_shows_nothing() -> None:
    found = of(CLOSE)

    assert found.low < 0 < found.high
    assert found.outcome == "not_shown"
    parts = oracle.mean_squares(np.asarray(minus(CLOSE, FULL))[:, None])
    assert found.units_needed == oracle.units_needed(parts, 0.0, 0.95, 400)


def test_units_needed_is_asked_only_where_nothing_was_shown() -> None:
    assert of(CLEAR).units_needed is None


@pytest.mark.parametrize("seeds", [2, 5, 20])
def test_one_split_claims_nothing_however_many_seeds(seeds: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.001, seeds)
    ours = entry("ours", [float(0.1 + x) for x in noise], [1] * seeds)
    full = entry("full", [0.5] * seeds, [1] * seeds)

    found = only(runs_of(ours, full, splits=1, overlap=1.0))

    assert (found.outcome, found.units) == ("one_split", seeds)
    # of one split, no training part overlaps with another
    assert (found.low, found.high) == pytest.approx(student([float(x) - 0.4 for x in noise]))


def test_seeds_of_one_split_are_paired_by_seed() -> None:
    ours = entry("ours", [0.1, 0.2, 0.3], [1] * 3, seeds=[7, 5, 6])
    full = entry("full", [0.25, 0.37, 0.12], [1] * 3, seeds=[5, 6, 7])

    found = only(runs_of(ours, full, splits=1))

    assert (found.low, found.high) == pytest.approx(student([-0.02, -0.05, -0.07]))


def test_one_pair_is_one_run() -> None:
    for splits in (1, 5):
        found = only(runs_of(entry("ours", [0.1]), entry("full", [0.5]), splits=splits))

        assert (found.outcome, found.low, found.units) == ("one_run", None, 1)
        assert found.difference == pytest.approx(-0.4)


def test_fewer_than_three_splits_show_nothing() -> None:
    # half width 12.7 · 0.00005 around −0.3001
    assert of([0.2, 0.2], [0.5, 0.5001], splits=2).outcome == "not_shown"
    assert of([0.2, 0.2], [0.2, 0.2001], splits=2).outcome == "not_shown"  # nor "no difference"
    assert of([0.2, 0.2, 0.2], [0.5, 0.5001, 0.5002], splits=3).outcome == "better"


def test_splits_that_were_asked_for_and_are_not_there_show_nothing() -> None:
    ours = entry("ours", [0.2, 0.2001], [1, 2])

    assert only(runs_of(ours, entry("full", FULL), splits=5)).outcome == "not_shown"


def test_equal_differences_show_nothing() -> None:
    found = of([e - 0.1 for e in FULL])

    assert (found.outcome, found.low, found.high, found.p) == ("not_shown", None, None, None)


def test_a_smaller_level_widens_the_interval_and_claims_less() -> None:
    errors = [e - d for e, d in zip(FULL, [0.06, 0.03, 0.05, 0.01, 0.04], strict=True)]
    runs = runs_of(entry("ours", errors), entry("full", FULL))

    assert only(runs).outcome == "better"
    strict = only(runs, level=0.005)
    assert strict.outcome == "not_shown"
    assert (strict.low, strict.high) == pytest.approx(student(minus(errors, FULL), level=0.005))
    assert strict.level == 0.005


# --- effort -------------------------------------------------------------------------------------


def tuned(ours: tuple, full: tuple) -> dict:
    return {"ours": effort("ours", *ours), "full": effort("full", *full)}


AHEAD = runs_of(entry("ours", CLEAR), entry("full", FULL))
BACK = runs_of(entry("ours", FULL), entry("full", CLEAR))


@pytest.mark.parametrize(
    ("ours", "full"),
    [((12,), (4,)), ((10,), (8,)), ((10, 3), (10, 0))],
    ids=["fewer trials", "two fewer", "none complete"],
)
def test_the_loser_with_less_effort_is_not_compared(ours: tuple, full: tuple) -> None:
    assert only(AHEAD, effort=tuned(ours, full)).outcome == "unequal_effort"
    assert only(BACK, effort=tuned(full, ours)).outcome == "unequal_effort"


@pytest.mark.parametrize(("ours", "full"), [((4,), (12,)), ((10, 0), (10, 3))])
def test_the_winner_with_less_effort_is_better_all_the_more(ours: tuple, full: tuple) -> None:
    assert only(AHEAD, effort=tuned(ours, full)).outcome == "better"
    assert only(BACK, effort=tuned(full, ours)).outcome == "worse"


@pytest.mark.parametrize(
    "efforts",
    [tuned((10,), (9,)), tuned((10, 0), (10, 0)), {}, {"ours": effort("ours", 12)}],
    ids=["one trial apart", "neither complete", "an older record", "one unknown"],
)
def test_about_equal_and_unknown_effort_is_no_obstacle(efforts: dict) -> None:
    assert only(AHEAD, effort=efforts).outcome == "better"


def test_unequal_effort_keeps_its_numbers() -> None:
    found = only(AHEAD, effort=tuned((12,), (4,)))

    assert found.difference == pytest.approx(-0.05)
    assert found.low is not None and found.high is not None


# --- several comparisons ------------------------------------------------------------------------


def several(*differences: list, **asked: object) -> list[Comparison]:
    """Strategies that differ from full by so much on each split."""
    entries = [
        entry(f"s{i}", [e + x for e, x in zip(FULL, d, strict=True)])
        for i, d in enumerate(differences)
    ]
    runs = runs_of(*entries, entry("full", FULL))
    return compare(runs, [(f"s{i}", "full") for i in range(len(differences))], Rule(**asked))


EDGE = [-0.06, -0.03, -0.05, -0.01, -0.02]  # p = .022
NOISE = [0.01, -0.02, 0.015, -0.01, 0.008]


def test_what_one_comparison_shows_four_need_not() -> None:
    (alone,) = several(EDGE)
    assert alone.outcome == "better" and 0.0125 < alone.p < 0.05

    together = several(EDGE, NOISE, [2 * x for x in NOISE], [-x for x in NOISE])

    assert [c.outcome for c in together] == ["not_shown"] * 4
    assert together[0].p == alone.p
    assert together[0].p_holm == pytest.approx(4 * alone.p)
    # the interval is that of the comparison alone, and so is its p-value
    assert (together[0].low, together[0].high) == (alone.low, alone.high)


def test_corrected_p_values_are_holms() -> None:
    random = np.random.default_rng(3)
    differences = [list(random.normal(-0.03, 0.02, 5)) for _ in range(6)]

    found = several(*differences)

    assert [c.p_holm for c in found] == pytest.approx(oracle.holm([c.p for c in found]))
    assert [c.outcome in ("better", "worse") for c in found] == [c.p_holm <= 0.05 for c in found]


def test_the_correction_of_per_example_comparisons_counts_the_residual_twice() -> None:
    """Satterthwaite's p-values are too small at the levels Holm asks for."""
    random = np.random.default_rng(5)
    known = {f"s{i}": (random.uniform(size=(5, 90)) < 0.3).astype(float) for i in range(3)}
    known["full"] = (random.uniform(size=(5, 90)) < 0.35).astype(float)
    entries, losses = by_example(known)

    found = compare(runs_of(*entries, losses=losses), [(f"s{i}", "full") for i in range(3)])

    cautious = []
    for i in range(3):
        parts = oracle.mean_squares(known[f"s{i}"] - known["full"])
        _, df = oracle.squared_error_and_df(parts, 0.0)
        variance = parts.units / 90 / 5 + parts.examples / (90 * 5)
        cautious.append(oracle.t_p_value(parts.mean, variance, df))
    assert [c.p_holm for c in found] == pytest.approx(oracle.holm(cautious))


def test_a_clear_difference_stands_among_several() -> None:
    found = several([-0.050, -0.052, -0.048, -0.051, -0.049], NOISE, [-x for x in NOISE])

    assert [c.outcome for c in found] == ["better", "not_shown", "not_shown"]


# --- no relevant difference ---------------------------------------------------------------------

SMALL = [0.002, -0.001, 0.003, -0.002, 0.001]


def test_no_relevant_difference_needs_the_whole_interval_within_the_smallest_effect() -> None:
    low, high = student(SMALL)
    largest = max(-low, high)

    for effect, outcome in (
        (1.001 * largest, "no_relevant_difference"),
        (0.999 * largest, "not_shown"),
    ):
        (found,) = several(SMALL, smallest_effect=effect)
        assert found.outcome == outcome


def test_among_several_the_interval_of_bonferroni_has_to_lie_within() -> None:
    alone = max(abs(end) for end in student(SMALL))
    of_three = max(abs(end) for end in student(SMALL, level=0.05 / 3))
    assert alone < 0.0037 < of_three < 0.008

    def outcome(effect: float) -> str:
        return several(SMALL, NOISE, NOISE[::-1], smallest_effect=effect)[0].outcome

    assert outcome(0.0037) == "not_shown"
    assert outcome(0.008) == "no_relevant_difference"


def test_a_sure_difference_that_is_too_small_to_matter_is_not_relevant() -> None:
    (found,) = several([-0.0020, -0.0021, -0.0019, -0.0020, -0.0022], smallest_effect=0.01)

    assert found.high < 0
    assert found.outcome == "no_relevant_difference"


def test_a_sure_difference_whose_interval_reaches_beyond_is_better() -> None:
    (found,) = several([-0.010, -0.011, -0.009, -0.010, -0.012], smallest_effect=0.01)

    assert found.outcome == "better"
