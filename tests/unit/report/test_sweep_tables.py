"""The tables for a paper are those of the page."""

import csv
import io
import re

import pytest
from comparison_kit import compared
from results_kit import typed

from raysel.report import comparison, figures, page
from raysel.report.comparison_tables import comparison_tables
from raysel.report.sweep_tables import sweep_tables
from raysel.report.table import to_csv

PETS = """
name: pets
task: {data: oxford_iiit_pet}
model: {name: densenet121.ra_in1k}
strategies: {full: , linear_probe: , bvg_ls: }
"""


def tables_of(results):
    return {table.name: table for table in sweep_tables(typed(results), None)}


def sections(html: str) -> dict[str, int]:
    """Heading of each section with a table -> its number of rows."""
    found = {}
    for section in re.findall(r"<section>(.*?)</section>", html, re.DOTALL):
        bodies = re.findall(r"<tbody>(.*?)</tbody>", section, re.DOTALL)
        if bodies:
            heading = re.search(r"<h2>(.*?)</h2>", section).group(1)
            found[heading] = sum(body.count("<tr") for body in bodies)
    return found


def test_every_table_of_the_page_is_written_with_all_its_rows(results):
    drawn = dict.fromkeys(figures.FIGURES, "<svg></svg>")
    shown = sections(page.page(typed(results), drawn))
    written = {table.title: len(table.rows) for table in tables_of(results).values()}
    assert len(shown) >= 8
    assert shown.items() <= written.items()


def test_every_table_of_the_comparison_is_written_with_all_its_rows(results):
    sweeps = [compared(results, f"s{number}") for number in range(5)]
    shown = sections(comparison.page(sweeps, {}))
    written = {table.title: len(table.rows) for table in comparison_tables(sweeps)}
    assert shown == written and len(shown) == 3


def test_numbers_stand_with_their_intervals(results):
    made = tables_of(results)
    first = results["verdict"]["against_baseline"][0]
    row = made["differences"].rows[0]
    assert row[0] == f"{first['ours']} − full" and " to " in row[2]
    assert all("±" in row[1] for row in made["confirmed"].rows)
    assert all("±" in row[2] for row in made["cost"].rows)
    assert made["improvement"].rows[0][3] == "50 % to 100 %"


def test_csv_has_the_values_of_the_results(results):
    made = tables_of(results)
    rows = list(csv.DictReader(io.StringIO(to_csv(made["differences"]))))
    for row, known in zip(rows, results["verdict"]["against_baseline"], strict=True):
        assert float(row["difference"]) == known["difference"]
        assert float(row["low"]) == known["low"] and row["outcome"] == known["outcome"]
    (full,) = (
        row
        for row in csv.DictReader(io.StringIO(to_csv(made["cost"])))
        if row["strategy"] == "full"
    )
    assert float(full["peak_memory_bytes"]) == 90e6
    assert float(full["source_error"]) == pytest.approx(0.02 + 0.5 + 0.02)
    trials = list(csv.DictReader(io.StringIO(to_csv(made["trials"]))))
    assert [row["id"] for row in trials] == [trial["id"] for trial in results["trials"]]
    assert float(trials[0]["learning_rate"]) == results["trials"][0]["searched"]["learning_rate"]


def test_a_sweep_without_results_has_the_tables_that_it_can(results):
    results |= {"confirm": [], "verdict": {}, "effort": [], "improvement": []}
    assert set(tables_of(results)) == {"searched", "pareto_front", "trials"}
    assert sweep_tables(typed(results | {"trials": []}), None) == []
