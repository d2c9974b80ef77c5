"""Cost and forgetting beside the error: which configurations no other one dominates.

One configuration dominates another where it is as good in everything that was measured of all
(test error, forgetting, peak memory, seconds; the smaller the better) and better in something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raysel.report.drawing import INK, Style, is_left, legend, panels, strategy_keys, styles
from raysel.report.tables import confirm_rows, plus_minus, strategies
from raysel.sweep.results import ConfirmedStrategy, Interval, SweepResults
from raysel.sweep.verdict_words import points

MIB = 2**20

TITLE = "Cost and forgetting against error"
"""Of its section on the page."""


@dataclass(frozen=True)
class CostRow:
    """What a confirmed strategy reached and took, means over its runs.

    Attributes:
        error: test error, 0..1.
        forgetting: error on the source's validation examples, after minus before.
        source_before, source_after: that error.
        peak_memory_bytes, seconds: of a run.
        distance: layer -> relative distance from the start.
        dominated_by: the strategies that dominate it, in the order of the table.
    """

    strategy: str
    winner: bool
    error: Interval
    forgetting: Interval
    source_before: float | None
    source_after: float | None
    peak_memory_bytes: float | None
    seconds: float | None
    distance: Mapping[str, float]
    dominated_by: tuple[str, ...] = ()

    @property
    def farthest(self) -> str:
        """The layer that went farthest: `head (0.31)`."""
        if not self.distance:
            return "–"
        layer = max(self.distance, key=self.distance.__getitem__)
        return f"{layer} ({self.distance[layer]:.2g})"


OBJECTIVES: Mapping[str, Callable[[CostRow], float | None]] = {
    "test error": lambda row: row.error.mean,
    "forgetting": lambda row: row.forgetting.mean,
    "peak memory": lambda row: row.peak_memory_bytes,
    "seconds": lambda row: row.seconds,
}
"""What is compared, the smaller the better."""


def cost_rows(results: SweepResults) -> list[CostRow]:
    """The confirmed strategies in the order of the tables; none without a test error."""
    entries = {entry.strategy: entry for entry in results.confirm}
    order = [row for row in confirm_rows(results) if row.mean is not None]
    rows = [_row(entries[row.strategy], row.winner) for row in order]
    measured = [OBJECTIVES[name] for name in compared_in(rows)]
    values = {row.strategy: [of(row) or 0.0 for of in measured] for row in rows}
    return [_judged(row, values) for row in rows]


def compared_in(rows: Iterable[CostRow]) -> list[str]:
    """The objectives that every configuration has."""
    rows = list(rows)
    return [n for n, of in OBJECTIVES.items() if rows and all(of(r) is not None for r in rows)]


def not_measured(results: SweepResults) -> str:
    """What the comparison lacks and why, in a sentence; empty where it lacks nothing."""
    rows = cost_rows(results)
    missing = [name for name in OBJECTIVES if name not in compared_in(rows)]
    if not rows or not missing:
        return ""
    if missing == ["forgetting"] and results.source is None and not results.source_by_model:
        return (
            "Forgetting is not known here: the runs began with weights that no source part of the"
            " data can test."
        )
    return (
        f"Not compared: {' and '.join(missing)}, which the record does not hold for every run"
        " (older versions did not measure it)."
    )


def dominates(ours: Iterable[float], theirs: Iterable[float]) -> bool:
    """Whether ours is as good in everything and better in something (smaller is better)."""
    pairs = list(zip(ours, theirs, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both numbers (smaller is better), by the first one."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def forgetting_in_words(row: CostRow) -> str:
    """`+3.1 ± 0.8` points; `–` where it was not measured."""
    mean, high = row.forgetting.mean, row.forgetting.high
    if mean is None:
        return "–"
    (words,) = points(mean)
    return words if high is None else f"{words} ± {100 * (high - mean):.1f}"


def source_in_words(row: CostRow) -> str:
    """Error on the source's validation examples before and after: `0.023 → 0.108`."""
    if row.source_before is None or row.source_after is None:
        return "–"
    return f"{row.source_before:.3f} → {row.source_after:.3f}"


def error_in_words(row: CostRow) -> str:
    """`0.251 ± 0.012`."""
    return plus_minus(row.error.mean, row.error.high)


def cost_against_error(results: SweepResults) -> Figure | None:
    """Test error against forgetting, peak memory and seconds, a panel each, a point a strategy.

    Filled: what no other dominates in everything measured. A line joins those that no other beats
    in the two numbers of a panel.
    """
    rows = cost_rows(results)
    shown = [name for name in compared_in(rows) if name != "test error"]
    if len(rows) < 2 or not shown:
        return None
    look = styles(strategies(results), results.verdict.baseline)
    figure, placed = panels(shown, height=2.9)
    for index, (name, axes) in enumerate(placed.items()):
        _draw(axes, rows, look, name)
        axes.set_xlabel(_LABELS[name])
        if is_left(axes, index):
            several = any(row.error.low is not None for row in rows)
            axes.set_ylabel("test error, 95 % interval" if several else "test error, one run")
        else:
            axes.tick_params(labelleft=False)
    legend(figure, strategy_keys([row.strategy for row in rows], look), "outside lower right")
    return figure


_LABELS = {
    "forgetting": "forgetting, points of source error",
    "peak memory": "peak memory, MiB",
    "seconds": "seconds a run",
}

_SCALE = {"forgetting": 100.0, "peak memory": 1 / MIB, "seconds": 1.0}


def _draw(axes: Axes, rows: Iterable[CostRow], look: Mapping[str, Style], name: str) -> None:
    value, scale = OBJECTIVES[name], _SCALE[name]
    placed = [(scale * (value(row) or 0.0), row.error.mean or 0.0, row) for row in rows]
    front = pareto_front((x, y) for x, y, _ in placed)
    axes.plot(*zip(*front, strict=True), color=INK, lw=0.9, alpha=0.5)
    for x, y, row in placed:
        style = look[row.strategy]
        if row.error.low is not None and row.error.high is not None:
            axes.plot([x, x], [row.error.low, row.error.high], color=style.light, lw=1.1, alpha=0.5)
        filled = "none" if row.dominated_by else style.light
        axes.plot(x, y, style.marker, color=style.light, mfc=filled, ms=7)
    axes.margins(x=0.08)
    if name != "forgetting":
        axes.set_xlim(left=0)


def _row(entry: ConfirmedStrategy, winner: bool) -> CostRow:
    measured = entry.forgetting.mean is not None
    before, after = (
        [run.source_error_before for run in entry.runs],
        [run.source_error for run in entry.runs],
    )
    return CostRow(
        strategy=entry.strategy,
        winner=winner,
        error=entry.test_error,
        forgetting=entry.forgetting,
        source_before=_mean(before) if measured else None,
        source_after=_mean(after) if measured else None,
        peak_memory_bytes=entry.peak_memory_bytes,
        seconds=entry.seconds,
        distance=entry.distance,
    )


def _judged(row: CostRow, values: Mapping[str, list[float]]) -> CostRow:
    own = values[row.strategy]
    better = tuple(name for name, theirs in values.items() if dominates(theirs, own))
    return CostRow(**{**row.__dict__, "dominated_by": better})


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
