"""What the confirmed models take for what: confusion matrices, and the commonest mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from raysel.common.text import one_line
from raysel.report.maps import OPACITY, opacity_legend, shade
from raysel.report.panels import LABEL, is_left, panels
from raysel.report.tables import Results, finite, percent, plus_minus, ranked
from raysel.sweep.verdict import interval
from raysel.training.confusion import read_confusion

_MEASURES = ("test/error", "test/balanced_error", "test/top5_error")

NAMED = 12
"""Up to so many classes, cells and axes hold words."""


@dataclass(frozen=True)
class Mistake:
    """A class that was taken for another: how often, and in which share of its examples."""

    true: str
    taken: str
    count: int
    share: float


@dataclass(frozen=True)
class MeasureRow:
    """Test errors of a confirmed strategy, mean and 95 % interval over its seeds in words; a
    dash where it was not measured."""

    strategy: str
    error: str
    balanced: str
    top5: str


def read_confusions(results: Results, trials: Path) -> dict[str, dict[str, Any]]:
    """Strategy -> its classes and the confusion matrix [C][C], added up over its runs.

    Args:
        trials: the sweep's folder of trials; a strategy whose runs have no matrix is left out.
    """
    found = {}
    for entry in results.get("confirm") or []:
        read = [read_confusion(trials / str(run["id"])) for run in entry.get("runs") or []]
        known = [one for one in read if one is not None]
        if known:
            matrix = np.sum([np.array(counts, dtype=np.int64) for _, counts in known], axis=0)
            found[str(entry["strategy"])] = {"classes": known[0][0], "matrix": matrix.tolist()}
    return found


def confusions(results: Results) -> Figure | None:
    """The matrix of each confirmed strategy: the share of a class taken for each class."""
    known: Mapping[str, Any] = results.get("confusion") or {}
    order = [name for name in ranked(results) if name in known]
    if not order:
        return None
    classes = [one_line(name, LABEL) for name in known[order[0]]["classes"]]
    figure, placed = panels(order, height=2.5 if len(classes) > NAMED else 3.0)
    norm = shade(1.0)
    for index, (name, axes) in enumerate(placed.items()):
        shares = _shares(np.array(known[name]["matrix"], dtype=float))
        axes.imshow(shares, OPACITY, norm=norm, aspect="equal")
        axes.grid(False)
        axes.set_title(name)
        axes.tick_params(length=0)
        if len(classes) <= NAMED:
            axes.set_xticks(range(len(classes)), classes, rotation=90)
            axes.set_yticks(range(len(classes)), classes if is_left(axes, index) else [])
            _write(axes, shares)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
        axes.set_xlabel("taken for")
        if is_left(axes, index):
            axes.set_ylabel("true class")
    steps = {0.0: "0 %", 0.05: "5 %", 0.25: "25 %", 1.0: "100 % of the true class"}
    opacity_legend(figure, norm, steps)
    return figure


def measure_rows(results: Results) -> list[MeasureRow]:
    """Every confirmed strategy, the winner first; none where no run was measured so."""
    entries = {str(entry["strategy"]): entry for entry in results.get("confirm") or []}
    rows = [
        MeasureRow(name, *(_over_seeds(entries[name], metric) for metric in _MEASURES))
        for name in ranked(results)
        if name in entries
    ]
    return rows if any(row.balanced != "–" for row in rows) else []


def commonest_mistakes(results: Results, most: int = 8) -> list[Mistake]:
    """What the winner mistakes most often, the commonest first; ties in the classes' order."""
    winner = (results.get("verdict") or {}).get("winner")
    known = (results.get("confusion") or {}).get(winner)
    if not known:
        return []
    classes, matrix = known["classes"], np.array(known["matrix"])
    totals = matrix.sum(axis=1)
    wrong = [
        Mistake(classes[i], classes[j], int(matrix[i, j]), float(matrix[i, j] / totals[i]))
        for i, j in np.argwhere(matrix)
        if i != j
    ]
    return sorted(wrong, key=lambda mistake: -mistake.count)[:most]


def _over_seeds(entry: Mapping[str, Any], metric: str) -> str:
    values = [finite(run.get(metric)) for run in entry.get("runs") or []]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return plus_minus(None, None)
    mean, _, high = interval(known)
    return plus_minus(mean, high)


def _shares(matrix: np.ndarray) -> np.ndarray:
    """[C, C]: each row by its sum; a class without examples stays 0."""
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)


def _write(axes: Any, shares: np.ndarray) -> None:
    """Shares of half a percent or more, in percent."""
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            words = percent(float(share)).removesuffix(" %")
            axes.text(column, row, words, ha="center", va="center", size=6)
