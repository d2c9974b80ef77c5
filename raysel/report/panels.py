"""Figures of several panels, and what is around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysel.report.palette import Style

WIDTH = 8.6
"""Of every figure, in inches."""

LABEL = 32
"""A longer name beside an axis is cut, in characters."""

Place = Literal["outside upper left", "outside lower right"]


def panels(
    names: Sequence[str], height: float, share_y: bool = False
) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel (of a height in inches) a name, three in a row."""
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure((WIDTH, 0.3 + height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=share_y, sharey=share_y, squeeze=False)
    flat = list(grid.flat)
    for spare in flat[len(names) :]:
        spare.set_visible(False)
    return figure, dict(zip(names, flat, strict=False))


def is_left(axes: Axes, index: int) -> bool:
    """Whether a panel, the `index`-th, is in the first column."""
    spec = axes.get_subplotspec()
    return spec is None or spec.is_first_col() or index == 0


def label_outer(panels: Mapping[str, Axes], x: str, y: str | None) -> None:
    """Axis labels at the left and below the lowest panel of each column only."""
    placed = [(axes, axes.get_subplotspec()) for axes in panels.values()]
    lowest = {spec.colspan.start: axes for axes, spec in placed if spec}
    for axes, spec in placed:
        if spec and spec.is_first_col() and y:
            axes.set_ylabel(y)
        if axes in lowest.values():
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)


def panel_title(strategy: str, trial: Mapping[str, Any] | None) -> str:
    """A panel's title: whose best trial it shows, and where that is a pruned one."""
    if not trial:
        return strategy
    pruned = ", pruned" if trial.get("status") == "PRUNED" else ""
    return f"{strategy} · trial {trial['id']}{pruned}"


def legend(figure: Figure, handles: Sequence[Artist], place: Place) -> None:
    """One row of keys above or below the panels."""
    count = len(handles)
    figure.legend(handles=handles, loc=place, ncols=min(count, 6), handletextpad=0.4)


def strategy_keys(names: Sequence[str], style_of: Mapping[str, Style]) -> list[Line2D]:
    """What the lines of strategies look like."""
    return [
        Line2D([], [], color=style_of[name].light, marker=style_of[name].marker, ms=5, label=name)
        for name in names
    ]
