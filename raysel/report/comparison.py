"""`raysel report A B C`: one page that sets several sweeps side by side, over models, over shifts,
over numbers of target examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from raysel.common.text import one_line
from raysel.record.layout import write_whole
from raysel.report.compared import Compared, Sweeps, by_rank, cell, ranking
from raysel.report.comparison_figures import FIGURES, styles_of
from raysel.report.comparison_tables import comparison_tables
from raysel.report.drawing import css, drawn
from raysel.report.page import safe, templates
from raysel.report.table_files import write_figures, write_tables


def write_comparison(sweeps: Sequence[Compared], folder: Path) -> Path:
    """Write the page of two or more sweeps.

    Returns:
        `<folder>/index.html`. The figures lie beside it as PNG in `figures/`; each file is
        there whole or not at all.
    """
    sweeps = [Compared(one_line(s.name), safe(s.results), s.spec) for s in sweeps]
    pictures = drawn(FIGURES, sweeps, folder / "figures")
    index = folder / "index.html"
    write_whole(index, page(sweeps, pictures))
    return index


def write_comparison_tables(sweeps: Sequence[Compared], folder: Path) -> list[Path]:
    """Every table of the page as CSV and LaTeX, every figure as PDF and PNG (in `figures/`)."""
    sweeps = [Compared(one_line(s.name), safe(s.results), s.spec) for s in sweeps]
    written = write_tables(comparison_tables(sweeps), "comparison", folder)
    return written + write_figures(FIGURES, sweeps, folder / "figures")


def page(sweeps: Sweeps, drawn: dict[str, str]) -> str:
    """The page as text; `drawn`: figures as SVG by their name in `FIGURES`."""
    ranks = ranking(sweeps)
    return (
        templates()
        .get_template("comparison.html.j2")
        .render(
            sweeps=sweeps,
            errors={name: [cell(sweep, name) for sweep in sweeps] for name in by_rank(sweeps)},
            ranks=ranks,
            one_task=len({(sweep.data, sweep.model) for sweep in sweeps}) == 1,
            figures={name: Markup(svg) for name, svg in drawn.items()},
            styles=styles_of(sweeps),
            colours=css(),
        )
    )
