"""`raysel report SUITE`: the page of a suite, `<suite>/report/index.html`, and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from raysel.common.text import one_line
from raysel.common.user_files import own_folder
from raysel.record.layout import write_whole
from raysel.report import suite_contrasts
from raysel.report.compared import Compared, ranking
from raysel.report.comparison_figures import styles_of
from raysel.report.comparison_tables import comparison_tables
from raysel.report.drawing import css, drawn
from raysel.report.page import safe, templates
from raysel.report.suite_contrasts import SuiteContrasts
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
from raysel.sweep.averaged_contrasts import averaged_contrasts, contrasted
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
    read = _read(storage, name)
    own = own_folder(read.view.folder.path / "report")
    pictures = drawn(FIGURES, read.cells, own / "figures")
    pictures |= drawn(suite_contrasts.FIGURES, read.contrasts, own / "figures")
    index = own / "index.html"
    write_whole(index, _page(read, pictures))
    write_tables(_tables(read), name, own / "tables")
    return index


def write_suite_tables(storage: str, name: str, folder: Path) -> list[Path]:
    """Every table of the page as CSV and LaTeX, every figure as PDF and PNG (in `figures/`).

    Raises:
        As `write_suite_report`.
    """
    read = _read(storage, name)
    written = write_tables(_tables(read), name, folder)
    written += write_figures(FIGURES, read.cells, folder / "figures")
    return written + write_figures(suite_contrasts.FIGURES, read.contrasts, folder / "figures")


class _Read(NamedTuple):
    """A suite, as it is shown.

    Attributes:
        cells: those with results.
        axes: of each of them, key -> value.
        contrasts: over all of them.
        problems: why a cell cannot be read, by its name.
    """

    view: SuiteView
    cells: list[Compared]
    axes: dict[str, Mapping[str, Any]]
    contrasts: SuiteContrasts
    problems: dict[str, str]


def _read(storage: str, name: str) -> _Read:
    view = read_suite(storage, name)
    found, problems = read_cells(view)
    cells = [Compared(one_line(c.name), safe(results), sweep.spec) for c, sweep, results in found]
    averaged = averaged_contrasts([contrasted(safe(own), sweep.folder) for _, sweep, own in found])
    return _Read(
        view,
        cells,
        {one_line(cell.name): cell.settings for cell, _, _ in found},
        SuiteContrasts(cells, averaged),
        {one_line(name): one_line(why) for name, why in problems.items()},
    )


def _tables(read: _Read) -> list[Table]:
    cells = read.cells
    found = [
        suite_table(cells, read.axes),
        suite_contrasts.contrast_table(read.contrasts),
        configuration_table(cells),
        published_table(cells),
    ]
    others = [table for table in comparison_tables(cells) if table.name != "errors"]  # the first
    return [*filter(None, found), *others]


def _page(read: _Read, pictures: Mapping[str, str]) -> str:
    view, cells = read.view, read.cells
    known = {*read.axes, *read.problems}
    missing = [cell.cell.name for cell in view.cells if cell.cell.name not in known]
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
            problems=read.problems,
            axes=[" with ".join(axis.keys) for axis in view.suite.axes],
            rows=arm_rows(cells),
            untouched=untouched_row(cells),
            contrasts=suite_contrasts.contrast_table(read.contrasts),
            configurations=configuration_rows(cells),
            published=published_entries(cells),
            ranks=ranking(cells),
            figures={key: Markup(svg) for key, svg in pictures.items()},
            styles=styles_of(cells),
            colours=css(),
        )
    )
