"""What the confirmed models take for what: confusion matrices, and the commonest mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, Field

from raysel.common.text import one_line
from raysel.report.drawing import LABEL, is_left, panels
from raysel.report.maps import OPACITY, opacity_legend, shade
from raysel.report.tables import percent, plus_minus, ranked
from raysel.sweep.results import ConfirmedStrategy, SweepResults
from raysel.sweep.verdict import interval
from raysel.training.confusion import read_confusion

_MEASURES = ("test/error", "test/balanced_error", "test/top5_error")

NAMED = 12
"""Up to so many classes, cells and axes hold words."""


class Confusion(BaseModel):
    """Of one strategy: its classes, and the matrix [true][taken] of counts, added up over its
    runs."""

    model_config = ConfigDict(frozen=True)

    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


class WithConfusions(SweepResults):
    """A sweep's results, and by strategy the confusion matrices that lie beside its runs."""

    confusion: dict[str, Confusion] = Field(default_factory=dict)


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


def read_confusions(results: SweepResults, trials: Path) -> dict[str, Confusion]:
    """The confusion matrices by strategy.

    Args:
        trials: the sweep's folder of trials; a strategy whose runs have no matrix is left out.
    """
    found = {}
    for entry in results.confirm:
        read = [read_confusion(trials / run.id) for run in entry.runs]
        known = [one for one in read if one is not None]
        if known:
            matrix = np.sum([np.array(counts, dtype=np.int64) for _, counts in known], axis=0)
            found[entry.strategy] = Confusion(classes=tuple(known[0][0]), matrix=matrix.tolist())
    return found


def confusions(results: WithConfusions) -> Figure | None:
    """The matrix of each confirmed strategy: the share of a class taken for each class."""
    known = results.confusion
    order = [name for name in ranked(results) if name in known]
    if not order:
        return None
    classes = [one_line(name, LABEL) for name in known[order[0]].classes]
    figure, placed = panels(order, height=2.5 if len(classes) > NAMED else 3.0)
    norm = shade(1.0)
    for index, (name, axes) in enumerate(placed.items()):
        shares = _shares(np.array(known[name].matrix, dtype=float))
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


def measure_rows(results: SweepResults) -> list[MeasureRow]:
    """Every confirmed strategy, the winner first; none where no run was measured so."""
    entries = {entry.strategy: entry for entry in results.confirm}
    rows = [
        MeasureRow(name, *(_over_seeds(entries[name], metric) for metric in _MEASURES))
        for name in ranked(results)
        if name in entries
    ]
    return rows if any(row.balanced != "–" for row in rows) else []


def commonest_mistakes(results: WithConfusions, most: int = 8) -> list[Mistake]:
    """What the winner mistakes most often, the commonest first; ties in the classes' order."""
    known = results.confusion.get(results.verdict.winner or "")
    if known is None:
        return []
    classes, matrix = known.classes, np.array(known.matrix)
    totals = matrix.sum(axis=1)
    wrong = [
        Mistake(classes[i], classes[j], int(matrix[i, j]), float(matrix[i, j] / totals[i]))
        for i, j in np.argwhere(matrix)
        if i != j
    ]
    return sorted(wrong, key=lambda mistake: -mistake.count)[:most]


def _over_seeds(entry: ConfirmedStrategy, metric: str) -> str:
    values = list(entry.by_seed(metric).values())
    if not values or len(values) < len(entry.runs):
        return plus_minus(None, None)
    mean, _, high = interval(values)
    return plus_minus(mean, high)


def _shares(matrix: np.ndarray) -> np.ndarray:
    """[C, C]: each row by its sum; a class without examples stays 0."""
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)


def _write(axes: Any, shares: np.ndarray) -> None:
    """Shares of half a percent or more, in percent."""
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            words = percent(float(share)).removesuffix(" %")
            text = axes.text(column, row, words, ha="center", va="center", size=6)
            text.set_in_layout(False)
