"""Expected intervals come by another route: numpy and a printed table of t quantiles."""

import numpy as np
import pytest

from raysel.sweep.results import ConfirmedStrategy
from raysel.sweep.verdict import interval, verdict

ERROR = "val/error"

# two-sided 95 % quantiles of Student's t, as printed in the usual tables
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def entry(strategy, val, test, val_loss=None, seeds=None):
    seeds = seeds or range(len(test))
    losses = val_loss or [0.5] * len(test)
    runs = [
        {"seed": s, "val/error": v, "val/loss": loss, "test/error": t, "test/loss": 1.0}
        for s, v, loss, t in zip(seeds, val, losses, test, strict=True)
    ]
    return ConfirmedStrategy.model_validate({"strategy": strategy, "runs": runs})


def by_hand(values):
    x = np.asarray(values)
    half = T[len(x) - 1] * x.std(ddof=1) / np.sqrt(len(x))
    return x.mean(), x.mean() - half, x.mean() + half


def full_test_errors_plus(differences):
    return [run.test_error + d for run, d in zip(FULL.runs, differences, strict=True)]


FULL = entry("full", [0.28] * 5, [0.270, 0.280, 0.265, 0.290, 0.265])
CLOSE = [0.250, 0.240, 0.275, 0.245, 0.245]  # differences -20, -40, +10, -45, -20 thousandths
CLEAR = [0.240, 0.245, 0.240, 0.250, 0.240]


def test_interval_is_student_t():
    values = [0.25, 0.26, 0.24, 0.27, 0.25]
    assert interval(values) == pytest.approx(by_hand(values), abs=1e-5)


def test_interval_of_two_values_uses_one_degree_of_freedom():
    assert interval([0.1, 0.3]) == pytest.approx((0.2, 0.2 - 1.2706, 0.2 + 1.2706), abs=1e-4)


def test_one_value_has_no_interval():
    assert interval([0.2]) == (0.2, None, None)


def test_equal_values_give_an_interval_of_no_width():
    assert interval([0.25] * 4) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")]])
def test_interval_refuses_nothing_and_nan(values):
    with pytest.raises(ValueError, match="finite"):
        interval(values)


def test_not_proven_when_the_interval_holds_zero():
    result = verdict([FULL, entry("bvg_ls", [0.24] * 5, CLOSE)], ERROR)
    mean, low, high = by_hand([-0.020, -0.040, 0.010, -0.045, -0.020])
    assert low < 0 < high
    assert (result.difference, result.low, result.high) == pytest.approx(
        (mean, low, high), abs=1e-5
    )
    assert (result.winner, result.against, result.n) == ("bvg_ls", "full", 5)
    assert result.outcome == "not_proven"
    assert result.sentence == (
        "bvg_ls, chosen by validation error. Against full fine-tuning: −2.3 points of test error "
        "(95 % interval −5.0 to +0.4, paired over 5 training seeds on one split): "
        "not proven better; more seeds would tell."
    )


def test_better_when_the_whole_interval_is_below_zero():
    result = verdict([FULL, entry("bvg_ls", [0.24] * 5, CLEAR)], ERROR)
    mean, low, high = by_hand([-0.030, -0.035, -0.025, -0.040, -0.025])
    assert high < 0
    assert (result.difference, result.low, result.high) == pytest.approx(
        (mean, low, high), abs=1e-5
    )
    assert result.outcome == "better"
    assert result.sentence.endswith(
        "−3.1 points of test error (95 % interval −3.9 to −2.3, "
        "paired over 5 training seeds on one split): better."
    )


def test_worse_when_full_is_better():
    tests = full_test_errors_plus([3e-2, 4e-2, 3e-2, 4e-2, 3e-2])
    result = verdict([FULL, entry("surgical", [0.24] * 5, tests)], ERROR)
    assert result.outcome == "worse"
    assert result.low > 0
    assert result.sentence.endswith(": full fine-tuning is better.")


def test_differences_are_paired_by_seed_not_by_position():
    order = [3, 1, 4, 0, 2]
    shuffled = entry("bvg_ls", [0.24] * 5, [CLEAR[seed] for seed in order], seeds=order)
    straight = verdict([FULL, entry("bvg_ls", [0.24] * 5, CLEAR)], ERROR)
    assert verdict([FULL, shuffled], ERROR) == straight


def test_pairing_is_tighter_than_two_separate_samples():
    """Seeds that are hard for both cancel: the width is that of the differences."""
    hard = [0.20, 0.30, 0.40]
    full = entry("full", [0.4] * 3, hard)
    other = entry("lp", [0.3] * 3, [0.19, 0.288, 0.391])
    result = verdict([full, other], ERROR)
    _, low, high = by_hand([-0.010, -0.012, -0.009])
    assert (result.low, result.high) == pytest.approx((low, high), abs=1e-5)
    assert result.outcome == "better"


def test_only_seeds_that_both_have_are_paired():
    four = entry("bvg_ls", [0.24] * 4, CLEAR[1:], seeds=[1, 2, 3, 9])
    result = verdict([FULL, four], ERROR)
    by_seed = {run.seed: run.test_error for run in FULL.runs}
    ours = dict(zip([1, 2, 3], CLEAR[1:4], strict=True))
    mean, *_ = by_hand([ours[s] - by_seed[s] for s in (1, 2, 3)])
    assert result.n == 3
    assert result.difference == pytest.approx(mean)
    assert "3 training seeds that both have on one split" in result.sentence


def test_a_run_without_a_test_error_is_no_pair():
    broken = entry("bvg_ls", [0.24] * 5, [*CLEAR[:3], None, float("nan")])
    assert verdict([FULL, broken], ERROR).n == 3


def test_the_winner_is_chosen_by_validation_and_never_by_test_error():
    lucky = entry("linear_probe", [0.30] * 5, [0.01] * 5)
    result = verdict([FULL, lucky, entry("bvg_ls", [0.27] * 5, CLOSE)], ERROR)
    assert result.winner == "bvg_ls"


def test_the_winner_is_chosen_by_the_mean_and_not_by_the_best_seed():
    spiky = entry("surgical", [0.01, 0.4, 0.4, 0.4, 0.4], CLOSE)
    assert verdict([FULL, spiky, entry("bvg_ls", [0.27] * 5, CLOSE)], ERROR).winner == "bvg_ls"


def test_a_tie_goes_to_the_lower_validation_loss_then_to_the_name():
    # 69 mistakes of 300 each; as floats the mean of a comes out lower in the last bit
    a = entry("a", [22 / 100, 23 / 100, 24 / 100], [0.3] * 3, val_loss=[0.9] * 3)
    b = entry("b", [23 / 100, 23 / 100, 23 / 100], [0.3] * 3, val_loss=[0.8] * 3)
    c = entry("c", [23 / 100, 23 / 100, 23 / 100], [0.3] * 3, val_loss=[0.8] * 3)
    assert verdict([c, a, b], ERROR).winner == "b"


def test_equal_differences_prove_nothing():
    """t over five equal differences has no width: even −0.1 points would be 'proven'."""
    shifted = full_test_errors_plus([-0.001] * 5)
    result = verdict([FULL, entry("bvg_ls", [0.24] * 5, shifted)], ERROR)
    assert result.difference == pytest.approx(-0.001)
    assert (result.outcome, result.low, result.high) == ("not_proven", None, None)
    assert "−0.1 points of test error in each of 5 training seeds" in result.sentence
    assert "without any spread" in result.sentence


def test_no_difference_at_all_is_not_proven():
    same = entry("bvg_ls", [0.24] * 5, [run.test_error for run in FULL.runs])
    result = verdict([FULL, same], ERROR)
    assert result.outcome == "not_proven"
    assert "full fine-tuning: 0 points" in result.sentence


def test_two_seeds_that_differ_by_much_prove_nothing():
    # differences −0.02 and 0: mean −0.01, half width 12.7 · 0.01
    full = entry("full", [0.4] * 2, [0.30, 0.32])
    result = verdict([full, entry("bvg_ls", [0.3] * 2, [0.28, 0.32])], ERROR)
    assert result.outcome == "not_proven"


def test_a_proven_difference_is_never_shown_as_zero():
    tests = full_test_errors_plus([-3e-4, -4e-4, -3e-4, -4e-4, -3e-4])
    result = verdict([FULL, entry("bvg_ls", [0.24] * 5, tests)], ERROR)
    assert result.outcome == "better"
    assert "−0.03 points of test error (95 % interval −0.04 to −0.03" in result.sentence


def test_winner_is_full():
    result = verdict([FULL, entry("bvg_ls", [0.30] * 5, CLOSE)], ERROR)
    assert (result.outcome, result.winner, result.against) == (
        "winner_is_full",
        "full",
        None,
    )
    assert (result.difference, result.low, result.high) == (None, None, None)
    assert "no other strategy did better there" in result.sentence
    assert "Test error 27.4 % (95 % interval" in result.sentence


def test_full_alone_is_said_to_be_alone():
    assert "there was no other strategy" in verdict([FULL], ERROR).sentence


def test_no_baseline():
    result = verdict([entry("bvg_ls", [0.24] * 5, CLOSE)], ERROR)
    assert (result.outcome, result.against, result.n) == ("no_baseline", None, 0)
    assert result.sentence.startswith("bvg_ls, chosen by validation error. Test error 25.1 %")
    assert "Full fine-tuning has no confirmed result" in result.sentence


def test_full_without_a_common_seed_is_no_baseline():
    other = entry("bvg_ls", [0.24] * 5, CLOSE, seeds=range(10, 15))
    result = verdict([FULL, other], ERROR)
    assert result.outcome == "no_baseline"
    assert "tested on none of its seeds" in result.sentence


def test_one_seed_has_a_difference_and_no_interval():
    result = verdict([entry("full", [0.3], [0.27]), entry("bvg_ls", [0.2], [0.25])], ERROR)
    assert (result.outcome, result.n, result.low, result.high) == (
        "one_seed",
        1,
        None,
        None,
    )
    assert result.difference == pytest.approx(-0.02)
    assert "−2.0 points" in result.sentence
    assert "proves nothing" in result.sentence


@pytest.mark.parametrize("confirm", [[], [entry("bvg_ls", [float("nan")], [0.3])]])
def test_no_result(confirm):
    result = verdict(confirm, ERROR)
    assert (result.outcome, result.winner, result.n) == ("no_result", None, 0)


def test_the_winner_is_the_best_by_the_sweeps_objective():
    """The other one has more mistakes and less loss."""
    low_loss = entry("bvg_ls", [0.29] * 5, CLOSE, val_loss=[0.1] * 5)
    assert verdict([FULL, low_loss], ERROR).winner == "full"
    result = verdict([FULL, low_loss], "val/loss")
    assert result.winner == "bvg_ls"
    assert result.sentence.startswith("bvg_ls, chosen by validation loss. ")
    assert result.measure == "test/error"  # a difference of losses says little


def test_where_classes_are_balanced_the_test_is_balanced_too():
    def balanced(strategy, val, test, plain):
        made = entry(strategy, [0.3] * 3, plain)
        runs = [
            run.model_copy(update={"val_balanced_error": v, "test_balanced_error": t})
            for run, v, t in zip(made.runs, val, test, strict=True)
        ]
        return made.model_copy(update={"runs": tuple(runs)})

    full = balanced("full", [0.5] * 3, [0.50, 0.52, 0.54], [0.1] * 3)
    rare = balanced("bvg_ls", [0.4] * 3, [0.40, 0.43, 0.43], [0.2] * 3)
    result = verdict([full, rare], "val/balanced_error")
    assert (result.winner, result.measure) == ("bvg_ls", "test/balanced_error")
    assert result.difference == pytest.approx(-0.1)
    assert "points of balanced test error" in result.sentence
    assert "chosen by balanced validation error" in result.sentence


# --- no claim that the numbers do not support ---------------------------------------------------


def test_full_chosen_in_a_tie_on_one_seed_claims_nothing():
    result = verdict([entry("full", [0.3], [0.25]), entry("bvg_ls", [0.35], [0.25])], ERROR)
    assert result.outcome == "winner_is_full"
    assert result.sentence == (
        "full, chosen by validation error: no other strategy did better there. Test error 25.0 % "
        "(one training seed, no interval). bvg_ls has the same: a tie. "
        "One training seed proves no difference."
    )


def test_full_chosen_on_one_seed_proves_no_difference():
    result = verdict([entry("full", [0.3], [0.25]), entry("bvg_ls", [0.35], [0.40])], ERROR)
    assert result.sentence.endswith("no interval). One training seed proves no difference.")


@pytest.mark.parametrize(
    ("losses", "decided"),
    [
        ((0.4, 0.5), "the lower validation loss decided"),
        ((0.5, 0.5), "nothing measured decided"),
    ],
)
@pytest.mark.parametrize(("chosen", "other"), [("bvg_ls", "full"), ("full", "surgical")])
def test_a_tie_on_validation_data_is_said_with_what_decided(losses, decided, chosen, other):
    entries = [
        entry(name, [0.3] * 5, CLOSE, val_loss=[loss] * 5)
        for name, loss in zip((chosen, other), losses, strict=True)
    ]
    begin = f"{chosen}, chosen by validation error (a tie with {other}; {decided})"
    assert verdict(entries, ERROR).sentence.startswith(begin)


def test_no_tie_is_said_where_there_is_none():
    assert "tie" not in verdict([FULL, entry("bvg_ls", [0.24] * 5, CLOSE)], ERROR).sentence


def test_no_difference_on_one_seed_is_a_tie():
    result = verdict([entry("full", [0.3], [0.25]), entry("bvg_ls", [0.2], [0.25])], ERROR)
    assert "Against full fine-tuning: a tie, 0 points of test error on the one" in result.sentence


def test_equal_test_errors_have_no_interval_of_no_width():
    result = verdict([entry("full", [0.3] * 3, [0.25] * 3)], ERROR)
    assert result.sentence.endswith("Test error 25.0 % with each of 3 training seeds on one split.")
