"""`raysel report --tables DIR`: the tables as CSV and LaTeX, the figures as PDF and PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

from raysel.record.layout import write_whole
from raysel.report.drawing import draw_styled, save_pdf, save_png
from raysel.report.latex import all_tables, to_latex
from raysel.report.table import Table, to_csv

_T = TypeVar("_T")


def write_tables(tables: Sequence[Table], of: str, folder: Path) -> list[Path]:
    """Write each table as `<name>.csv` and `<name>.tex`, and `tables.tex`, which inputs all.

    Args:
        of: whose they are, for the labels.

    Returns:
        The files; each is there whole or not at all, and replaces one of its name.

    Raises:
        OSError: one cannot be written.
    """
    texts = {f"{t.name}.csv": to_csv(t) for t in tables}
    texts |= {f"{t.name}.tex": to_latex(t, of) for t in tables}
    texts["tables.tex"] = all_tables(table.name for table in tables)
    for name, text in texts.items():
        write_whole(folder / name, text)
    return [folder / name for name in texts]


def write_figures(
    figures: Mapping[str, Callable[[_T], Figure | None]], of: _T, folder: Path
) -> list[Path]:
    """Write every figure for which there is something to draw as PDF and PNG.

    Returns, Raises:
        As `write_tables`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, draw in figures.items():
        figure = draw_styled(draw, of)
        if figure is not None:
            files += [save_pdf(figure, folder / f"{name}.pdf")]
            files += [save_png(figure, folder / f"{name}.png")]
    return files
