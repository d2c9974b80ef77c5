"""The contrasts of a suite, in words and values."""

from __future__ import annotations

from comparison_kit import compared

from raysel.report.suite_contrasts import contrast_table
from raysel.report.table import to_csv
from raysel.sweep.averaged_contrasts import AveragedContrasts
from raysel.sweep.results import Comparison

FOUND = AveragedContrasts(
    unit="split",
    comparisons=(
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
    ),
    of_cells=((0.264, 0.338),),
)


def test_each_cell_and_the_average_stand_in_a_row(results):
    cells = [compared(results, name) for name in ("a", "b")]
    table = contrast_table(cells, FOUND)
    assert table is not None
    assert table.heads[:4] == ("contrast", "a", "b", "average")
    assert table.rows == (
        ("bvg_ls − full", "+26.4", "+33.8", "+28.4", "+11.7 to +45.0", "0.047", "worse", "22.3"),
    )
    assert "over the splits and the test examples" in table.caption
    head, row = to_csv(table).splitlines()
    values = dict(zip(head.split(","), row.split(","), strict=True))
    assert (values["a"], values["difference"], values["outcome"]) == ("0.264", "0.284", "worse")


def test_without_contrasts_there_is_no_table(results):
    assert contrast_table([compared(results, "a")], None) is None
