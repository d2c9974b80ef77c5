"""Which configurations no other dominates in error, forgetting, memory and time."""

import pytest
from results_kit import typed

from raysel.report import figures, pareto
from raysel.report.drawing import draw_styled
from raysel.report.pareto import compared_in, cost_rows, dominates, not_measured


def test_one_dominates_another_that_is_no_better_in_anything():
    assert dominates([1, 2], [1, 3]) and dominates([0, 0], [1, 1])
    assert not dominates([1, 2], [1, 2])
    assert not dominates([1, 3], [2, 2])


def test_what_is_worse_in_everything_is_dominated(results):
    """Full fine-tuning errs, forgets, holds and takes more than surgical here."""
    entries = {entry["strategy"]: entry for entry in results["confirm"]}
    entries["full"]["seconds"] = 9.0
    for name, error in {"full": 0.5, "surgical": 0.2, "linear_probe": 0.6}.items():
        entries[name]["test_error"] = {"mean": error, "n": 1}
    rows = {row.strategy: row for row in cost_rows(typed(results))}
    assert "surgical" in rows["full"].dominated_by
    assert rows["surgical"].dominated_by == ()
    assert rows["linear_probe"].dominated_by == ()  # it forgets the least


def test_a_panel_marks_what_is_dominated_in_everything_measured(results):
    figure = draw_styled(figures.FIGURES["cost_against_error"], typed(results))
    dominated = sum(bool(row.dominated_by) for row in cost_rows(typed(results)))
    assert 0 < dominated < 5
    for axes in figure.axes:
        points = [line for line in axes.lines if len(line.get_xdata()) == 1]
        assert sum(line.get_markerfacecolor() == "none" for line in points) == dominated
    labels = [axes.get_xlabel().split(",")[0] for axes in figure.axes]
    assert labels == ["forgetting", "peak memory", "seconds a run"]


def test_an_older_record_is_compared_by_what_it_holds_and_says_what_it_lacks(results):
    for entry in results["confirm"]:
        for key in ("forgetting", "distance", "peak_memory_bytes"):
            del entry[key]
    older = typed(results)
    assert compared_in(cost_rows(older)) == ["test error", "seconds"]
    assert "Not compared: forgetting and peak memory" in not_measured(older)
    assert "older versions did not measure it" in not_measured(older)
    (axes,) = draw_styled(figures.FIGURES["cost_against_error"], older).axes
    assert axes.get_xlabel() == "seconds a run"
    assert draw_styled(figures.FIGURES["distances"], older) is None


def test_without_a_source_model_forgetting_is_said_to_be_unknown(results):
    assert not_measured(typed(results)) == ""
    for entry in results["confirm"]:
        del entry["forgetting"]
    assert "no source part" in not_measured(typed(results | {"source": None}))


def test_a_measure_that_one_run_lacks_is_not_compared(results):
    results["confirm"][0]["peak_memory_bytes"] = None
    assert "peak memory" not in compared_in(cost_rows(typed(results)))
    assert "Not compared: peak memory" in not_measured(typed(results))


def test_the_words_of_a_row(results):
    row = next(row for row in cost_rows(typed(results)) if row.strategy == "surgical")
    assert pareto.source_in_words(row) == "0.020 → 0.090"  # .05 and the mean of 0 to .04
    assert pareto.forgetting_in_words(row).startswith("+7.0 ± ")
    assert row.farthest.endswith(" (0.1)")
    assert row.peak_memory_bytes == pytest.approx(60e6)
