"""The table of a suite: what is marked, averaged and ranked, worked out by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from comparison_kit import compared

from raysel.report.compared import Compared
from raysel.report.latex import to_latex
from raysel.report.suite_table import arm_rows, configuration_rows, suite_table, untouched_row
from raysel.report.table import to_csv


def cell(results: dict[str, Any], name: str, **errors: tuple[float, float]) -> Compared:
    """A cell whose arms have these test errors and half intervals; the others are left out."""
    own = copy.deepcopy(results)
    own["confirm"] = [e for e in own["confirm"] if e["strategy"] in errors]
    for entry in own["confirm"]:
        mean, half = errors[entry["strategy"]]
        interval = {"mean": mean, "low": mean - half, "high": mean + half, "n": 5}
        entry["test_error"] = interval
    return compared(own, name)


@pytest.fixture
def cells(results) -> list[Compared]:
    return [
        cell(results, "a", full=(0.30, 0.01), surgical=(0.20, 0.01), bvg_ls=(0.24, 0.05)),
        cell(results, "b", full=(0.10, 0.01), surgical=(0.40, 0.01), bvg_ls=(0.20, 0.01)),
    ]


def test_the_lowest_the_second_and_what_its_interval_holds_are_marked(results):
    found = cell(
        results, "a", full=(0.30, 0.01), surgical=(0.20, 0.01), bvg_ls=(0.24, 0.01),
        linear_probe=(0.25, 0.06),
    )  # fmt: skip
    marks = {row.arm: row.entries[0].mark for row in arm_rows([found])}
    # 0.25 ± 0.06 reaches down to 0.19 and holds 0.20; 0.30 ± 0.01 does not
    assert marks == {"surgical": "best", "bvg_ls": "second", "linear_probe": "close", "full": ""}


def test_the_average_and_the_mean_rank_are_over_the_cells(cells):
    found = {row.arm: (row.average, row.rank) for row in arm_rows(cells)}
    assert found["full"] == (pytest.approx(0.20), pytest.approx(2.0))  # ranks 3 and 1
    assert found["surgical"] == (pytest.approx(0.30), pytest.approx(2.0))  # 1 and 3
    assert found["bvg_ls"] == (pytest.approx(0.22), pytest.approx(2.0))  # 2 and 2


def test_an_arm_that_a_cell_lacks_has_a_dash_there_and_no_average(results, cells):
    more = [*cells, cell(results, "c", full=(0.1, 0.01), surgical=(0.2, 0.01))]
    found = {row.arm: row for row in arm_rows(more)}
    assert [entry.words for entry in found["bvg_ls"].entries][-1] == "–"
    assert (found["bvg_ls"].average, found["bvg_ls"].rank) == (None, None)
    assert found["full"].average == pytest.approx(0.5 / 3)


def test_the_table_goes_into_a_paper_and_to_a_script(cells):
    table = suite_table(cells, {"a": {"training.shots": 5}, "b": {"training.shots": 20}})
    assert table is not None
    assert table.heads == ("arm", "a", "b", "average", "mean rank")
    assert "training.shots" in table.caption
    csv = to_csv(table).splitlines()
    assert csv[0].startswith("arm,average,mean_rank,a")
    assert len(csv) == 4
    assert r"0.200 $\pm$ 0.010{*}{*}" in to_latex(table, "suite")


def test_equals_share_a_mark(results):
    found = cell(results, "a", full=(0.2, 0.0), surgical=(0.2, 0.0), bvg_ls=(0.3, 0.0))
    marks = {row.arm: row.entries[0].mark for row in arm_rows([found])}
    assert marks == {"full": "best", "surgical": "best", "bvg_ls": "second"}


def untouched(one: Compared, *errors: float) -> Compared:
    """The cell with these test errors of the model before its runs of full fine-tuning."""
    results = one.results.to_dict()
    (full,) = [entry for entry in results["confirm"] if entry["strategy"] == "full"]
    for run, error in zip(full["runs"], errors, strict=False):
        run["untouched_error"] = error
    return compared(results, one.name)


def test_the_untouched_model_is_a_row_without_a_rank(cells):
    assert untouched_row(cells) is None
    measured = [untouched(cells[0], 0.5, 0.7), cells[1]]
    row = untouched_row(measured)
    # mean .6, standard error .1: the half interval is 12.706 x .1
    assert [entry.words for entry in row.entries] == ["0.600 ± 1.271", "–"]
    assert (row.average, row.rank) == (None, None)
    table = suite_table(measured, {"a": {}, "b": {}})
    assert table.rows[-1] == ("untouched", "0.600 ± 1.271", "–", "–", "–")
    assert untouched_row([untouched(cells[0], 0.5)]).average == pytest.approx(0.5)


def test_every_configuration_that_was_tested_has_a_row_by_what_tells_it_apart(cells):
    assert configuration_rows(cells) == []
    results = cells[0].results.to_dict()
    trials = {trial["id"]: trial for trial in results["trials"]}
    (best,) = [entry for entry in results["confirm"] if entry["strategy"] == "surgical"]
    values = {"block": "stem", "learning_rate": 0.01}
    trials[best["trial"]]["searched"] = values
    other = next(t for t in trials.values() if t["id"] != best["trial"])
    other["searched"] = values | {"block": "head"}
    results["other_configurations"] = [
        {**best, "trial": other["id"], "test_error": {"mean": 0.5, "n": 1}}
    ]
    more = compared(results, "a", "confirm.configurations={by: [block]}")
    rows = {row.values: row.entries for row in configuration_rows([more, cells[1]])}
    assert rows["block stem"] == ("0.200 ± 0.010", "–")
    assert rows["block head"] == ("0.500", "–")
