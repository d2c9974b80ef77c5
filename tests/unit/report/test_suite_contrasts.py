"""The contrasts of a suite, in words and values."""

from __future__ import annotations

import pytest
from comparison_kit import compared

from raysel.report.suite_contrasts import averaged_differences, contrast_table
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
    table = contrast_table(cells, FOUND)
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
    assert contrast_table([compared(results, "a")], None) is None
    assert averaged_differences(None) is None


def test_the_figure_has_a_row_for_each_and_a_stroke_for_each_cell():
    figure = averaged_differences(FOUND)
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "bvg_ls − full",
        "suffix − full",
    ]
    strokes = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    assert [list(x) for x in strokes] == [pytest.approx([26.4, 33.8]), pytest.approx([1, -3])]
