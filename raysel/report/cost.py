"""What a strategy's accuracy costs."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.figure import Figure

from raysel.report.palette import INK, styles
from raysel.report.panels import WIDTH, legend, strategy_keys
from raysel.report.tables import Results, confirm_rows, strategies


def cost_against_error(results: Results) -> Figure | None:
    """Time of a confirm run and its test error, a point a strategy with its 95 % interval; a line
    joins those that no other beats in both."""
    rows = [row for row in confirm_rows(results) if row.mean is not None and row.seconds]
    if len(rows) < 2:
        return None
    style_of = styles(strategies(results))
    figure = Figure((WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    points = [(row.seconds or 0.0, row.mean or 0.0) for row in rows]
    axes.plot(*zip(*pareto_front(points), strict=True), color=INK, lw=0.9, alpha=0.5)
    for (seconds, error), row in zip(points, rows, strict=True):
        style = style_of[row.strategy]
        if row.low is not None and row.high is not None:
            ends = [row.low, row.high]
            axes.plot([seconds, seconds], ends, color=style.light, lw=1.1, alpha=0.5)
        axes.plot(seconds, error, style.marker, color=style.light, ms=7)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds a run")
    several = any(row.low is not None for row in rows)
    axes.set_ylabel("test error, 95 % interval" if several else "test error, one seed")
    legend(figure, strategy_keys([row.strategy for row in rows], style_of), "outside lower right")
    return figure


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both numbers (smaller is better), by the first one."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front
