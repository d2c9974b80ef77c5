"""What the verdict is about, what it says, and what it may not say."""

import numpy as np
import pytest
import statistics_oracle as oracle
from confirm_kit import by_example, effort, entry, runs_of

from raysel.sweep.pairwise import compare
from raysel.sweep.question import Question
from raysel.sweep.verdict import Verdict, improvements, interval, verdict

FULL_ERRORS = [0.300, 0.320, 0.280, 0.310, 0.290]
FULL = entry("full", FULL_ERRORS)


def beside_full(*differences: float) -> list[float]:
    return [e + d for e, d in zip(FULL_ERRORS, differences, strict=True)]


CLEAR = beside_full(-0.050, -0.052, -0.048, -0.051, -0.049)
CLOSE = beside_full(-0.050, 0.040, -0.030, 0.020, -0.010)
SMALL = beside_full(0.002, -0.001, 0.003, -0.002, 0.001)
WORSE = beside_full(0.050, 0.052, 0.048, 0.051, 0.049)
BETTER_ALONE = beside_full(-0.060, -0.030, -0.050, -0.010, -0.020)  # p = .022


def asked(*ranking: str, **more: object) -> Question:
    return Question("val/error", ranking, **{"splits": 5, **more})


def against_full(errors: list, **more: object) -> Verdict:
    return verdict([entry("bvg_ls", errors), FULL], asked("bvg_ls", "full", **more))


# --- the interval of one strategy's runs --------------------------------------------------------


def test_interval_is_student_t() -> None:
    values = [0.25, 0.26, 0.24, 0.27, 0.25]
    x = np.asarray(values)
    half = 2.776 * x.std(ddof=1) / np.sqrt(5)  # as printed in the usual tables

    assert interval(values) == pytest.approx((x.mean(), x.mean() - half, x.mean() + half), abs=1e-5)


def test_interval_of_two_values_uses_one_degree_of_freedom() -> None:
    assert interval([0.1, 0.3]) == pytest.approx((0.2, 0.2 - 1.2706, 0.2 + 1.2706), abs=1e-4)


def test_one_value_has_no_interval() -> None:
    assert interval([0.2]) == (0.2, None, None)


def test_equal_values_give_an_interval_of_no_width() -> None:
    assert interval([0.25] * 4) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")]])
def test_interval_refuses_nothing_and_nan(values: list) -> None:
    with pytest.raises(ValueError, match="finite"):
        interval(values)


# --- the winner ---------------------------------------------------------------------------------


def test_the_search_chooses_the_winner_and_test_errors_never_do() -> None:
    lucky = entry("linear_probe", [0.01, 0.011, 0.012, 0.01, 0.009])

    found = verdict([lucky, FULL, entry("bvg_ls", CLOSE)], asked("bvg_ls", "linear_probe", "full"))

    assert found.winner == "bvg_ls"
    assert found.lowest == "linear_probe"
    assert found.outcome == "not_shown"
    assert "linear_probe" in found.sentence


def test_the_order_of_the_confirm_runs_chooses_nothing() -> None:
    entries = [entry("bvg_ls", CLOSE), FULL, entry("surgical", CLEAR)]

    found = [verdict(e, asked("surgical", "bvg_ls", "full")) for e in (entries, entries[::-1])]

    assert {f.winner for f in found} == {"surgical"}
    assert len({f.sentence for f in found}) == 1


def test_the_first_of_the_ranking_that_was_confirmed_wins() -> None:
    found = verdict([entry("bvg_ls", CLEAR), FULL], asked("failed", "bvg_ls", "full"))

    assert (found.winner, found.outcome) == ("bvg_ls", "better")


def test_one_value_among_the_confirm_runs_changes_the_difference_and_not_the_winner() -> None:
    ranking = asked("bvg_ls", "surgical", "full")
    for errors in (CLEAR, CLOSE, WORSE):
        found = verdict([FULL, entry("surgical", CLEAR), entry("bvg_ls", errors)], ranking)
        assert found.winner == "bvg_ls"


# --- the winner against full fine-tuning --------------------------------------------------------


def test_better_with_the_interval_of_the_paired_splits() -> None:
    found = against_full(CLEAR)

    parts = oracle.mean_squares(np.subtract(CLEAR, FULL_ERRORS)[:, None])
    variance, df = oracle.squared_error_and_df(parts, 0.0)
    assert (found.low, found.high) == pytest.approx(
        oracle.t_interval(parts.mean, variance, df, 0.95), rel=1e-9
    )
    assert (found.winner, found.against, found.n, found.outcome) == ("bvg_ls", "full", 5, "better")
    assert "bvg_ls against full fine-tuning: −5.0 points of test error" in found.sentence
    assert "95 % interval −5.2 to −4.8; 5 splits" in found.sentence
    assert "better on these splits" in found.sentence


def test_worse_says_who_is_better() -> None:
    found = against_full(WORSE)

    assert found.outcome == "worse"
    assert "full fine-tuning is better on these splits" in found.sentence


def test_not_shown_says_how_many_splits_would() -> None:
    found = against_full(CLOSE)

    assert found.outcome == "not_shown"
    assert "corrected" not in found.sentence
    assert "about 140 more splits would show a difference of this size" in found.sentence
    assert "better" not in found.sentence


def test_no_relevant_difference_is_an_outcome_of_its_own() -> None:
    assert against_full(SMALL).outcome == "no_relevant_difference"
    assert "no relevant difference" in against_full(SMALL).sentence
    assert against_full(SMALL, smallest_effect=0.002).outcome == "not_shown"


def test_the_winners_own_comparison_is_not_corrected_for_those_beside_it() -> None:
    """The search chose it on another split: it is one question."""
    entries = [entry("bvg_ls", BETTER_ALONE), FULL, *(entry(f"s{i}", CLOSE) for i in range(3))]

    found = verdict(entries, asked("bvg_ls", "s0", "s1", "s2", "full"))

    assert found.outcome == "better"
    table = {c.ours: c for c in found.against_baseline}
    assert table["bvg_ls"].outcome == "not_shown"
    assert table["bvg_ls"].p_holm == pytest.approx(4 * table["bvg_ls"].p)


def test_every_strategy_stands_against_full_with_holms_correction() -> None:
    entries = [entry("a", CLEAR), FULL, entry("b", CLOSE), entry("c", BETTER_ALONE)]

    found = verdict(entries, asked("full", "a", "b", "c"))

    table = found.against_baseline
    assert [(c.ours, c.theirs) for c in table] == [("a", "full"), ("b", "full"), ("c", "full")]
    assert [c.p_holm for c in table] == pytest.approx(oracle.holm([c.p for c in table]))


def test_losses_of_test_examples_enter_the_interval() -> None:
    random = np.random.default_rng(0)
    tables = {name: (random.uniform(size=(5, 60)) < 0.3).astype(float) for name in ("a", "full")}
    entries, losses = by_example(tables)

    known, means = (verdict(entries, asked("a", "full"), kept) for kept in (losses, None))

    assert "5 splits, 60 test examples" in known.sentence
    assert "test examples;" not in means.sentence and "60" not in means.sentence
    assert known.high - known.low != pytest.approx(means.high - means.low)


def test_overlap_and_level_reach_the_interval() -> None:
    plain, wide, strict = (
        against_full(BETTER_ALONE, **more) for more in ({}, {"overlap": 0.5}, {"level": 0.0158})
    )

    parts = oracle.mean_squares(np.subtract(BETTER_ALONE, FULL_ERRORS)[:, None])
    for found, overlap, level in ((plain, 0.0, 0.05), (wide, 0.5, 0.05), (strict, 0.0, 0.0158)):
        variance, df = oracle.squared_error_and_df(parts, overlap)
        expected = oracle.t_interval(parts.mean, variance, df, 1 - level)
        assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert (plain.outcome, wide.outcome, strict.outcome) == ("better", "not_shown", "not_shown")
    assert "98.4 % interval" in strict.sentence


# --- what claims nothing ------------------------------------------------------------------------


def test_one_split_claims_nothing() -> None:
    entries = [entry("bvg_ls", CLEAR, [1] * 5), entry("full", FULL_ERRORS, [1] * 5)]

    found = verdict(entries, asked("bvg_ls", "full", splits=1))

    assert (found.outcome, found.n) == ("one_split", 5)
    assert "5 training seeds on one split" in found.sentence
    assert "another may say otherwise" in found.sentence
    assert "better" not in found.sentence


def test_an_older_record_without_splits_is_one_split() -> None:
    entries = [entry("bvg_ls", CLEAR, [0] * 5), entry("full", FULL_ERRORS, [0] * 5)]

    found = verdict(entries, Question("val/error", ("bvg_ls", "full")))

    assert (found.outcome, found.n) == ("one_split", 5)


def test_one_run_has_a_difference_and_no_interval() -> None:
    entries = [entry("bvg_ls", [0.25]), entry("full", [0.27])]

    found = verdict(entries, asked("bvg_ls", "full", splits=1))

    assert (found.outcome, found.n, found.low, found.high) == ("one_run", 1, None, None)
    assert "−2.0 points of test error (no interval; 1 training seed on one split)" in found.sentence


def test_two_splits_show_nothing() -> None:
    entries = [entry("bvg_ls", [0.2, 0.2]), entry("full", [0.5, 0.5001])]

    found = verdict(entries, asked("bvg_ls", "full", splits=2))

    assert found.high < 0
    assert found.outcome == "not_shown"
    assert "it takes 3 splits or more" in found.sentence


def test_equal_differences_show_nothing() -> None:
    found = against_full(beside_full(*[-0.1] * 5))

    assert (found.outcome, found.low, found.high) == ("not_shown", None, None)
    assert "no interval" in found.sentence


def test_unequal_effort_is_said_with_the_trials_of_both() -> None:
    efforts = {"bvg_ls": effort("bvg_ls", 12), "full": effort("full", 4, 0)}

    found = against_full(CLEAR, effort=efforts)

    assert found.outcome == "unequal_effort"
    assert "bvg_ls 12 trials, 12 complete; full 4 trials, 0 complete" in found.sentence
    assert "better" not in found.sentence
    assert [c.outcome for c in found.against_baseline] == ["unequal_effort"]


def test_a_winner_tuned_less_than_full_may_be_better() -> None:
    efforts = {"bvg_ls": effort("bvg_ls", 4), "full": effort("full", 12)}

    assert against_full(CLEAR, effort=efforts).outcome == "better"


# --- full fine-tuning as the winner, and a sweep without it -------------------------------------


def test_full_as_winner_is_compared_with_the_second_of_the_search() -> None:
    entries = [entry("surgical", CLOSE), FULL, entry("bvg_ls", WORSE)]

    found = verdict(entries, asked("full", "bvg_ls", "surgical"))

    assert (found.outcome, found.winner, found.against) == ("better", "full", "bvg_ls")
    (own,) = compare(runs_of(*entries), [("full", "bvg_ls")])
    assert (found.difference, found.low, found.high, found.n) == (
        *(own.difference, own.low, own.high),
        5,
    )
    assert "The search chose full by validation error, and bvg_ls as the second." in found.sentence
    assert "Full fine-tuning against bvg_ls: −5.0 points of test error" in found.sentence
    assert "full fine-tuning is better on these splits" in found.sentence
    assert "not in this sweep" not in found.sentence
    assert {c.ours: c.outcome for c in found.against_baseline}["bvg_ls"] == "worse"


def test_a_second_that_is_better_than_the_winner_full_is_said_to_be() -> None:
    found = verdict([FULL, entry("bvg_ls", CLEAR)], asked("full", "bvg_ls"))

    assert (found.outcome, found.lowest) == ("worse", "bvg_ls")
    assert "bvg_ls is better on these splits" in found.sentence


def test_the_second_without_a_confirmed_run_is_passed_over() -> None:
    entries = [FULL, entry("surgical", WORSE)]

    found = verdict(entries, asked("full", "failed", "surgical"))

    assert (found.outcome, found.against) == ("better", "surgical")


def test_a_second_on_other_splits_is_no_comparison() -> None:
    found = verdict([FULL, entry("bvg_ls", [0.2] * 3, [7, 8, 9])], asked("full", "bvg_ls"))

    assert (found.outcome, found.difference) == ("no_runs", None)
    assert "Full fine-tuning against bvg_ls: they share no confirm run" in found.sentence
    assert "mean test error over 5 splits is 30.0 %" in found.sentence


def test_full_alone_is_said_to_be_alone() -> None:
    found = verdict([FULL], asked("full"))

    assert (found.outcome, found.against, found.n) == ("winner_is_full", None, 0)
    assert "There is no other strategy in this sweep" in found.sentence
    assert "mean test error over 5 splits is 30.0 %" in found.sentence


def test_full_beside_others_that_failed_is_not_said_to_be_alone() -> None:
    found = verdict([FULL], asked("full", strategies=("full", "bvg_ls")))

    assert (found.outcome, found.against) == ("winner_is_full", None)
    assert "No other strategy has a confirmed result" in found.sentence


def test_without_full_in_the_sweep_the_winner_is_compared_with_the_second() -> None:
    entries = [entry("bvg_ls", CLEAR), entry("surgical", FULL_ERRORS)]

    found = verdict(entries, asked("bvg_ls", "surgical"))

    assert (found.outcome, found.winner, found.against) == ("better", "bvg_ls", "surgical")
    assert "and surgical as the second; full fine-tuning is not in this" in found.sentence
    assert "bvg_ls against surgical: −5.0 points" in found.sentence
    assert found.against_baseline == ()


def test_a_strategy_alone_has_nothing_to_be_compared_with() -> None:
    found = verdict([entry("bvg_ls", CLOSE)], asked("bvg_ls"))

    assert (found.outcome, found.against, found.n) == ("no_baseline", None, 0)
    assert "There is no other strategy in this sweep" in found.sentence


def test_full_whose_trials_all_failed_has_no_confirmed_result() -> None:
    """It was asked for: another comparison in its place would answer another question."""
    entries = [entry("bvg_ls", CLOSE), entry("surgical", CLEAR)]

    found = verdict(entries, asked("bvg_ls", "surgical", strategies=("bvg_ls", "surgical", "full")))

    assert (found.outcome, found.against, found.n) == ("no_baseline", None, 0)
    assert "Full fine-tuning has no confirmed result" in found.sentence


def test_full_on_other_splits_is_no_baseline_and_not_said_to_have_no_result() -> None:
    elsewhere = entry("full", [0.2, 0.3], [8, 9])

    found = verdict([entry("bvg_ls", CLOSE), elsewhere], asked("bvg_ls", "full"))

    assert (found.outcome, found.difference) == ("no_baseline", None)
    assert "bvg_ls against full fine-tuning: they share no confirm run" in found.sentence


def test_full_without_a_test_error_is_no_baseline() -> None:
    found = verdict([entry("bvg_ls", CLOSE), entry("full", [None] * 5)], asked("bvg_ls", "full"))

    assert (found.outcome, found.difference) == ("no_baseline", None)
    assert "bvg_ls against full fine-tuning: they share no confirm run" in found.sentence


@pytest.mark.parametrize(("splits", "outcome"), [([1] * 5, "one_split"), ([1], "one_run")])
def test_full_as_winner_on_one_split_claims_nothing(splits: list, outcome: str) -> None:
    errors = [e[: len(splits)] for e in (FULL_ERRORS, CLEAR)]
    entries = [entry(n, e, splits) for n, e in zip(("full", "bvg_ls"), errors, strict=True)]

    found = verdict(entries, asked("full", "bvg_ls", splits=1))

    assert (found.outcome, found.against) == (outcome, "bvg_ls")
    assert "better" not in found.sentence


@pytest.mark.parametrize(("confirm", "ranking"), [([], ()), ([FULL], ())])
def test_no_result(confirm: list, ranking: tuple) -> None:
    found = verdict(confirm, asked(*ranking))

    assert (found.outcome, found.winner, found.n) == ("no_result", None, 0)
    assert found.sentence == "No strategy has a confirmed result."


# --- contrasts ----------------------------------------------------------------------------------


def test_contrasts_of_the_file_stand_before_the_winner() -> None:
    entries = [entry("bvg_ls", CLEAR), FULL, entry("random_layer", SMALL)]
    wanted = [("bvg_ls", "random_layer"), ("random_layer", "full")]

    found = verdict(entries, asked("bvg_ls", "full", "random_layer", contrasts=wanted))

    assert [(c.ours, c.theirs) for c in found.contrasts] == wanted
    first = found.contrasts[0]
    assert (found.outcome, found.difference) == (first.outcome, first.difference)
    assert (found.low, found.high, found.against) == (first.low, first.high, "random_layer")
    places = [
        found.sentence.index(text)
        for text in ("bvg_ls against random_layer", "random_layer against full fine-tuning")
    ]
    assert places == sorted(places)
    assert found.winner == "bvg_ls"


def test_contrasts_are_corrected_for_each_other() -> None:
    entries = [entry("a", BETTER_ALONE), FULL, entry("b", CLOSE), entry("c", CLOSE)]
    wanted = [("a", "full"), ("b", "full"), ("c", "full")]

    found = verdict(entries, asked("full", "a", "b", "c", contrasts=wanted))

    assert found.outcome == "not_shown"
    assert "no difference is shown once corrected for several comparisons" in found.sentence
    assert found.contrasts[0].p_holm == pytest.approx(3 * found.contrasts[0].p)
    one = verdict(entries, asked("full", "a", "b", "c", contrasts=wanted[:1]))
    assert one.outcome == "better"


def test_what_would_show_a_corrected_contrast_is_more_than_what_it_has() -> None:
    """Its own interval leaves zero out: without the correction no further split was needed."""
    entries = [entry("a", BETTER_ALONE), FULL, entry("b", CLOSE), entry("c", CLOSE)]
    wanted = [("a", "full"), ("b", "full"), ("c", "full")]

    first = verdict(entries, asked("full", "a", "b", "c", contrasts=wanted)).contrasts[0]

    parts = oracle.mean_squares(np.subtract(BETTER_ALONE, FULL_ERRORS)[:, None])
    assert first.high < 0 and first.outcome == "not_shown"
    assert first.units_needed == oracle.units_needed(parts, 0.0, 1 - 0.05 / 3, 100) > 5


def test_a_contrast_without_runs_is_not_called_a_missing_baseline() -> None:
    wanted = [("bvg_ls", "random_layer")]

    found = verdict([entry("bvg_ls", CLEAR), FULL], asked("bvg_ls", "full", contrasts=wanted))

    assert found.outcome == "no_runs"
    assert "bvg_ls against random_layer: they share no confirm run" in found.sentence


# --- probability of improvement -----------------------------------------------------------------


def test_improvements_of_each_pair_with_two_runs_or_more() -> None:
    entries = [entry("a", CLEAR), FULL, entry("b", [0.1]), entry("c", [0.3, 0.31, None])]

    found = improvements(entries, "test/error")

    assert [(r.ours, r.theirs) for r in found] == [("a", "full"), ("a", "c"), ("full", "c")]
    expected = oracle.probability_of_improvement([np.asarray(CLEAR)], [np.asarray(FULL_ERRORS)])
    assert found[0].probability == pytest.approx(expected, rel=1e-9)
    assert found[0].low <= found[0].probability <= found[0].high
