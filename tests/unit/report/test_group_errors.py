"""Errors by group: the winner's worst group first, means over the runs."""

import pytest
from results_kit import typed

from raysel.report.group_errors import SHOWN, group_table
from raysel.report.page import page
from raysel.report.sweep_tables import sweep_tables


@pytest.fixture
def grouped(results):
    """Every run with two groups; "land" is the worst of every run but the first."""
    for entry in results["confirm"]:
        for number, run in enumerate(entry["runs"]):
            errors = {"land": 0.2 + run["test/error"], "water <b>": 0.1}
            if not number:
                errors["land"] = 0.05
            run["group_errors"] = errors
            run["test/worst_group_error"] = max(errors.values())
    return results


def test_a_row_has_the_mean_of_the_runs_own_worst_groups(grouped):
    table = group_table(typed(grouped))
    entries = {entry["strategy"]: entry for entry in grouped["confirm"]}
    assert table.groups == ("land", "water <b>") and len(table.rows) == len(entries)
    for row in table.rows:
        worst = [run["test/worst_group_error"] for run in entries[row.strategy]["runs"]]
        land = [run["group_errors"]["land"] for run in entries[row.strategy]["runs"]]
        assert row.worst.startswith(f"{sum(worst) / len(worst):.3f} ±")
        assert row.groups == (f"{sum(land) / len(land):.3f}", "0.100")
    assert table.rows[0].strategy == grouped["verdict"]["winner"]


def test_the_page_and_the_files_have_the_table_and_the_name_is_no_markup(grouped):
    html = page(typed(grouped), {})
    assert "<h2>Groups</h2>" in html and "water &lt;b&gt;" in html and "water <b>" not in html
    (table,) = [t for t in sweep_tables(typed(grouped), None) if t.name == "groups"]
    assert table.records[0]["water <b>"] == pytest.approx(0.1)


def test_of_many_groups_the_worst_are_shown(grouped):
    for entry in grouped["confirm"]:
        for run in entry["runs"]:
            run["group_errors"] = {f"g{n:02d}": n / 20 for n in range(15)}
    table = group_table(typed(grouped))
    assert table.groups == tuple(f"g{n:02d}" for n in range(14, 14 - SHOWN, -1))
    assert table.others == 15 - SHOWN


def test_data_without_groups_have_no_table(results):
    assert group_table(typed(results)) is None
    assert "<h2>Groups</h2>" not in page(typed(results), {})
