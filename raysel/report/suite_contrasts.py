"""The contrasts of a suite: of every cell, and averaged over all cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from raysel.report.compared import Sweeps
from raysel.report.drawing import ACCENT, INK, Style, is_left, panels
from raysel.report.table import Table, make
from raysel.report.verdict_figures import difference_rows, mark_difference, prepare_rows
from raysel.report.words import in_points, p_value, size_in_points
from raysel.sweep.averaged_contrasts import AveragedContrast, AveragedContrasts
from raysel.sweep.verdict_words import measure_in_words

_OVER = {
    "split": "The cells have the same test examples and splits: the interval is over the splits and"
    " the test examples, and holds for these cells.",
    "cell": "The interval is over the cells.",
}

_MEAN = Style(ACCENT, ACCENT, "o")

MOST_PANELS = 9
"""Cells of a suite whose differences are drawn, a panel each."""


class SuiteContrasts(NamedTuple):
    """What is compared, and the cells from which it was made, in their order."""

    cells: Sweeps
    found: AveragedContrasts | None


def contrast_table(contrasts: SuiteContrasts) -> Table | None:
    """A row for each contrast that every cell has, then for each arm against full fine-tuning;
    None without any."""
    if (found := contrasts.found) is None:
        return None
    names = [cell.name for cell in contrasts.cells]
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


def averaged_differences(of: SuiteContrasts) -> Figure | None:
    """The rows of the table with their intervals, a dot for each cell; the arms against full
    fine-tuning from the lowest."""
    if (found := of.found) is None:
        return None
    rows = _in_order(found)
    figure, axes = difference_rows([one.comparison for one in rows], found.smallest_effect)
    for place, one in enumerate(rows):
        mark_difference(axes, place, one.comparison, _MEAN)
        cells = [100 * value for value in one.of_cells]
        axes.plot(cells, [place] * len(cells), "|", color=INK, ms=7, mew=1)
    if 0 < (contrasts := len(found.contrasts)) < len(rows):
        axes.axhline(contrasts - 0.5, color=INK, lw=0.5, alpha=0.5)
    over = "splits and test examples" if found.unit == "split" else "cells"
    axes.set_xlabel(f"{_what(of.cells)}: cells, mean, 95 % interval over {over}")
    return figure


def _in_order(found: AveragedContrasts) -> list[AveragedContrast]:
    """The contrasts, then the arms against full fine-tuning from the lowest."""
    rows, contrasts = _each_once(found), len(found.contrasts)
    others = sorted(rows[contrasts:], key=lambda one: one.comparison.difference or 0.0)
    return [*rows[:contrasts], *others]


def _what(cells: Sweeps) -> str:
    """What the axis of a difference shows, of cells that were tested alike."""
    return f"difference of {measure_in_words(cells[0].results.verdict.measure)} in points"


def differences_of_cells(of: SuiteContrasts) -> Figure | None:
    """The same rows, a panel a cell, with the cell's own interval and a scale of its own: where
    layers that help in one cell hurt in another, the average says nothing. None of more than
    `MOST_PANELS` cells."""
    cells, found = of
    if found is None or len(cells) > MOST_PANELS:
        return None
    rows = _in_order(found)
    pairs = [(one.comparison.ours, one.comparison.theirs) for one in rows]
    labels = [f"{ours} − {theirs}" for ours, theirs in pairs]
    figure, placed = panels([cell.name for cell in cells], height=0.9 + 0.22 * len(rows))
    for index, (cell, axes) in enumerate(zip(cells, placed.values(), strict=True)):
        verdict = cell.results.verdict
        own = {(c.ours, c.theirs): c for c in (*verdict.against_baseline, *verdict.contrasts)}
        shown = labels if is_left(axes, index) else [""] * len(labels)
        prepare_rows(axes, shown, found.smallest_effect)
        for place, pair in enumerate(pairs):
            mark_difference(axes, place, own[pair], _MEAN)
        axes.set_title(cell.name)
    figure.supxlabel(f"{_what(cells)}: mean and the cell's own interval", size="medium")
    return figure


FIGURES = {
    "averaged_differences": averaged_differences,
    "differences_of_cells": differences_of_cells,
}
"""By the name of its file."""
