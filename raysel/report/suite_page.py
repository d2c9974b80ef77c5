"""`raysel report SUITE`: the page of a suite, `<suite>/report/index.html`, and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from raysel.common.text import one_line
from raysel.common.user_files import own_folder
from raysel.record.layout import write_whole
from raysel.report.compared import Compared, Sweeps, ranking
from raysel.report.comparison_figures import styles_of
from raysel.report.comparison_tables import comparison_tables
from raysel.report.drawing import css, drawn
from raysel.report.page import safe, templates
from raysel.report.suite_figures import FIGURES
from raysel.report.suite_table import (
    arm_rows,
    configuration_rows,
    configuration_table,
    published_entries,
    published_table,
    suite_table,
    untouched_row,
)
from raysel.report.table import Table
from raysel.report.table_files import write_figures, write_tables
from raysel.sweep.suite_folder import SuiteView, read_cells, read_suite


def write_suite_report(storage: str, name: str) -> Path:
    """Write the page of a suite, of the cells that have results by now, and its tables beside it.

    Returns:
        `<suite>/report/index.html`; the tables are in `tables/` beside it, the figures in
        `figures/`.

    Raises:
        UserError: there is no such suite.
        OperationalError: no cell of it has results.
    """
    view, cells, axes = _read(storage, name)
    own = own_folder(view.folder.path / "report")
    pictures = drawn(FIGURES, cells, own / "figures")
    index = own / "index.html"
    write_whole(index, _page(view, cells, axes, pictures))
    write_tables(_tables(cells, axes), name, own / "tables")
    return index


def write_suite_tables(storage: str, name: str, folder: Path) -> list[Path]:
    """Every table of the page as CSV and LaTeX, every figure as PDF and PNG (in `figures/`).

    Raises:
        As `write_suite_report`.
    """
    _, cells, axes = _read(storage, name)
    written = write_tables(_tables(cells, axes), name, folder)
    return written + write_figures(FIGURES, cells, folder / "figures")


def _read(
    storage: str, name: str
) -> tuple[SuiteView, list[Compared], dict[str, Mapping[str, Any]]]:
    """The suite, its cells with results, and the axes' values of each of them."""
    view = read_suite(storage, name)
    read = read_cells(view)
    cells = [Compared(one_line(c.name), safe(results), sweep.spec) for c, sweep, results in read]
    return view, cells, {one_line(cell.name): cell.settings for cell, _, _ in read}


def _tables(cells: Sweeps, axes: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    found = [suite_table(cells, axes), configuration_table(cells), published_table(cells)]
    others = [table for table in comparison_tables(cells) if table.name != "errors"]  # the first
    return [*filter(None, found), *others]


def _page(
    view: SuiteView,
    cells: Sequence[Compared],
    axes: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, str],
) -> str:
    missing = [cell.cell.name for cell in view.cells if cell.cell.name not in axes]
    return (
        templates()
        .get_template("suite.html.j2")
        .render(
            name=view.suite.name,
            description=view.suite.description,
            state=view.state,
            complete=view.complete,
            cells=cells,
            states={cell.cell.name: cell.state for cell in view.cells},
            missing=missing,
            axes=[" with ".join(axis.keys) for axis in view.suite.axes],
            rows=arm_rows(cells),
            untouched=untouched_row(cells),
            configurations=configuration_rows(cells),
            published=published_entries(cells),
            ranks=ranking(cells),
            figures={key: Markup(svg) for key, svg in pictures.items()},
            styles=styles_of(cells),
            colours=css(),
        )
    )
