"""The contrasts of a suite: of every cell, and averaged over all cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from raysel.report.compared import Sweeps
from raysel.report.drawing import ACCENT, INK, Style
from raysel.report.table import Table, make
from raysel.report.verdict_figures import difference_rows, mark_difference
from raysel.report.words import in_points, p_value, size_in_points
from raysel.sweep.averaged_contrasts import AveragedContrast, AveragedContrasts

_OVER = {
    "split": "The cells have the same test examples and splits: the interval is over the splits and"
    " the test examples, and holds for these cells.",
    "cell": "The interval is over the cells.",
}

_MEAN = Style(ACCENT, ACCENT, "o")


def contrast_table(cells: Sweeps, found: AveragedContrasts | None) -> Table | None:
    """A row for each contrast that every cell has, then for each arm against full fine-tuning;
    None without any.

    Args:
        cells: those that `found` was made from, in its order.
    """
    if found is None:
        return None
    names = [cell.name for cell in cells]
    heads = {"contrast": False, **dict.fromkeys(names, True)}
    heads |= {"average": True, "interval": True, "p (Holm)": True, "outcome": False}
    return make(
        "contrasts",
        "Differences, averaged over the cells",
        f"Differences of test error in points. {_OVER[found.unit]} p is corrected for several"
        " (Holm), for the file's contrasts and for the arms against full fine-tuning apart;"
        " detectable is the true difference that as many would show with a probability of 80 %.",
        heads | {"detectable": True},
        [_row(one, names) for one in _each_once(found)],
    )


def _each_once(found: AveragedContrasts) -> list[AveragedContrast]:
    """The contrasts, then the arms against full fine-tuning that are none of them."""
    named = {(one.comparison.ours, one.comparison.theirs) for one in found.contrasts}
    others = [
        one
        for one in found.against_baseline
        if (one.comparison.ours, one.comparison.theirs) not in named
    ]
    return [*found.contrasts, *others]


def _row(one: AveragedContrast, names: Sequence[str]) -> tuple[Sequence[str], dict[str, Any]]:
    c = one.comparison
    words = (
        f"{c.ours} − {c.theirs}",
        *map(in_points, one.of_cells),
        in_points(c.difference),
        "–" if c.low is None else f"{in_points(c.low)} to {in_points(c.high)}",
        p_value(c.p_holm),
        c.outcome.replace("_", " "),
        size_in_points(c.detectable),
    )
    return words, c.model_dump() | dict(zip(names, one.of_cells, strict=True))


def averaged_differences(found: AveragedContrasts | None) -> Figure | None:
    """The rows of the table with their intervals, a dot for each cell; the arms against full
    fine-tuning from the lowest."""
    if found is None:
        return None
    contrasts, rows = list(found.contrasts), _each_once(found)
    others = sorted(rows[len(contrasts) :], key=lambda one: one.comparison.difference or 0.0)
    rows = [*contrasts, *others]
    figure, axes = difference_rows([one.comparison for one in rows], found.smallest_effect)
    for place, one in enumerate(rows):
        mark_difference(axes, place, one.comparison, _MEAN)
        cells = [100 * value for value in one.of_cells]
        axes.plot(cells, [place] * len(cells), "|", color=INK, ms=7, mew=1)
    if contrasts and others:
        axes.axhline(len(contrasts) - 0.5, color=INK, lw=0.5, alpha=0.5)
    over = "splits and test examples" if found.unit == "split" else "cells"
    axes.set_xlabel(f"difference of test error in points: cells, mean, 95 % interval over {over}")
    return figure


FIGURES = {"averaged_differences": averaged_differences}
"""By the name of its file."""
