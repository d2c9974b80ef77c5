"""The contrasts of a suite, in words and values."""

from __future__ import annotations

import pytest
from comparison_kit import compared

from raysel.report.suite_contrasts import (
    MOST_PANELS,
    SuiteContrasts,
    averaged_differences,
    contrast_table,
    differences_of_cells,
)
from raysel.report.table import to_csv
from raysel.sweep.averaged_contrasts import AveragedContrast, AveragedContrasts
from raysel.sweep.results import Comparison

FOUND = AveragedContrasts(
    unit="split",
    contrasts=(
        AveragedContrast(
            Comparison(
                ours="bvg_ls",
                theirs="full",
                outcome="worse",
                difference=0.284,
                low=0.117,
                high=0.450,
                p_holm=0.047,
                units=5,
                examples=348,
                detectable=0.223,
            ),
            (0.264, 0.338),
        ),
    ),
    against_baseline=(
        AveragedContrast(Comparison(ours="bvg_ls", theirs="full", difference=0.284), (0.2, 0.3)),
        AveragedContrast(Comparison(ours="suffix", theirs="full", difference=-0.01), (0.01, -0.03)),
    ),
)


def test_each_cell_and_the_average_stand_in_a_row(results):
    cells = [compared(results, name) for name in ("a", "b")]
    table = contrast_table(SuiteContrasts(cells, FOUND))
    assert table is not None
    assert table.heads[:4] == ("contrast", "a", "b", "average")
    assert table.rows[0] == (
        *("bvg_ls − full", "+26.4", "+33.8", "+28.4", "+11.7 to +45.0", "0.047", "worse", "22.3"),
    )
    assert [row[0] for row in table.rows] == ["bvg_ls − full", "suffix − full"]  # each once
    assert "over the splits and the test examples" in table.caption
    head, row, _ = to_csv(table).splitlines()
    values = dict(zip(head.split(","), row.split(","), strict=True))
    assert (values["a"], values["difference"], values["outcome"]) == ("0.264", "0.284", "worse")


def test_without_contrasts_there_is_no_table_and_no_figure(results):
    alone = SuiteContrasts([compared(results, "a")], None)
    assert contrast_table(alone) is None
    assert averaged_differences(alone) is None and differences_of_cells(alone) is None


def test_the_figure_has_a_row_for_each_and_a_stroke_for_each_cell(results):
    cells = [compared(results, name) for name in ("a", "b")]
    figure = averaged_differences(SuiteContrasts(cells, FOUND))
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "bvg_ls − full",
        "suffix − full",
    ]
    strokes = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    assert [list(x) for x in strokes] == [pytest.approx([26.4, 33.8]), pytest.approx([1, -3])]


def test_each_cell_has_a_panel_with_its_own_intervals(results):
    cells = [compared(results, name) for name in ("a", "b")]
    verdict = cells[0].results.verdict
    own = verdict.against_baseline
    assert any(one.low is not None for one in own)
    found = AveragedContrasts("cell", (), tuple(AveragedContrast(one, (0.0, 0.0)) for one in own))
    figure = differences_of_cells(SuiteContrasts(cells, found))
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") or axes.get_title() for axes in panels] == ["a", "b"]
    rows = [label.get_text() for label in panels[0].get_yticklabels()]
    assert sorted(rows) == sorted(f"{one.ours} − {one.theirs}" for one in own)
    for axes in panels:
        drawn = {
            row: [
                list(line.get_xdata()) for line in axes.lines if list(line.get_ydata())[:1] == [at]
            ]
            for at, row in enumerate(rows)
        }
        for one in own:
            wanted = [100 * one.low, 100 * one.high] if one.low is not None else None
            values = drawn[f"{one.ours} − {one.theirs}"]
            assert wanted is None or pytest.approx(wanted) in values
            assert pytest.approx([100 * (one.difference or 0.0)]) in values
    many = SuiteContrasts(cells * MOST_PANELS, found)
    assert differences_of_cells(many) is None
