"""What the verdict's sentence says, and what it must not say."""

from confirm_kit import entry

from raysel.sweep.question import Question
from raysel.sweep.verdict import Verdict, verdict

FULL_ERRORS = [0.300, 0.320, 0.280, 0.310, 0.290]
FULL = entry("full", FULL_ERRORS)


def beside_full(*differences: float) -> list[float]:
    return [e + d for e, d in zip(FULL_ERRORS, differences, strict=True)]


CLEAR = beside_full(-0.050, -0.052, -0.048, -0.051, -0.049)
CLOSE = beside_full(-0.050, 0.040, -0.030, 0.020, -0.010)
SMALL = beside_full(0.002, -0.001, 0.003, -0.002, 0.001)
WORSE = beside_full(0.050, 0.052, 0.048, 0.051, 0.049)


def asked(*ranking: str, **more: object) -> Question:
    return Question("val/error", ranking, **{"splits": 5, **more})


def against_full(errors: list, **more: object) -> Verdict:
    return verdict([entry("bvg_ls", errors), FULL], asked("bvg_ls", "full", **more))


def test_a_shown_difference_is_never_printed_as_zero() -> None:
    tiny = beside_full(-3e-4, -4e-4, -3e-4, -4e-4, -3e-4)

    found = against_full(tiny, smallest_effect=1e-4)

    assert found.outcome == "better"
    assert "−0.03 points of test error (95 % interval −0.04 to −0.03" in found.sentence


def test_how_the_winner_was_chosen_among_equals_is_said() -> None:
    found = against_full(CLEAR, tie=" (a tie with full; the lower validation loss decided)")

    assert "a tie with full; the lower validation loss decided" in found.sentence
    assert "tie" not in against_full(CLEAR).sentence


def test_the_test_metric_answers_the_objective() -> None:
    measure = "test/balanced_error"
    entries = [entry("bvg_ls", CLEAR, measure=measure), entry("full", FULL_ERRORS, measure=measure)]

    found = verdict(entries, Question("val/balanced_error", ("bvg_ls", "full"), splits=5))

    assert (found.measure, found.outcome) == (measure, "better")
    assert "points of balanced test error" in found.sentence
    assert "balanced validation error" in found.sentence
    loss = Question("val/loss", ("bvg_ls", "full"), splits=5)
    assert verdict([entry("bvg_ls", CLEAR), FULL], loss).measure == "test/error"


def test_the_worst_groups_test_error_answers_its_objective() -> None:
    measure = "test/worst_group_error"
    entries = [entry("bvg_ls", CLEAR, measure=measure), entry("full", FULL_ERRORS, measure=measure)]
    found = verdict(entries, Question("val/worst_group_error", ("bvg_ls", "full"), splits=5))
    assert (found.measure, found.outcome) == (measure, "better")
    assert "points of worst-group test error" in found.sentence
    assert "worst-group validation error" in found.sentence


def test_more_splits_are_not_advised_where_five_were_asked_for() -> None:
    entries = [entry("bvg_ls", [0.2]), entry("full", [0.3])]

    found = verdict(entries, asked("bvg_ls", "full", splits=5))

    assert found.outcome == "one_run"
    assert "confirm.splits: 5 would" not in found.sentence


def test_test_examples_are_blamed_only_where_they_are_known() -> None:
    even = beside_full(0.101, -0.1, 0.1, -0.1, 0.0)

    found = against_full(even)

    assert found.outcome == "not_shown"
    assert "test examples might" not in found.sentence


def test_no_relevant_difference_says_within_what() -> None:
    assert "within ±1 point" in against_full(SMALL).sentence
    assert "within ±0.5 points" in against_full(SMALL, smallest_effect=0.005).sentence


def test_no_sentence_has_an_empty_place() -> None:
    for errors in (CLEAR, CLOSE, SMALL, WORSE, [0.2] * 5, [0.3, None, None, None, None]):
        sentence = against_full(errors).sentence
        assert sentence.endswith(".")
        assert not any(bad in sentence for bad in ("None", "nan", "  ", "()", ".."))
