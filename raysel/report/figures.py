"""The figures of a sweep, drawn from `results.json`; each shows the same strategy in the
same colour (`raysel.report.palette`), the best strategy first.

A figure is a function from the results to a `Figure`, or None where there is nothing to
draw; `raysel.report.render` makes it an element of the page or a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from raysel.report.palette import ACCENT, INK, Style, styles
from raysel.report.render import LOOK
from raysel.report.tables import (
    ConfirmRow,
    Results,
    best_trials,
    confirm_rows,
    finite,
    percent,
    ranked,
    strategies,
)

_WIDTH = 8.6  # inches
_OPACITY = ListedColormap([(*to_rgb(ACCENT), a) for a in np.linspace(0, 0.92, 64)], "opacity")

_DASHED = (0, (3, 2))

Place = Literal["outside upper left", "outside lower right"]
Drawing = Callable[[Results], Figure | None]


# --- the figures ------------------------------------------------------------------------------


def confirm_intervals(results: Results) -> Figure | None:
    """Test error of each confirmed strategy: every seed, the mean, the 95 % interval."""
    rows = [row for row in confirm_rows(results) if row.mean is not None]
    if not rows:
        return None
    look = styles(strategies(results))
    figure = Figure((_WIDTH, 0.75 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        _draw_interval(axes, place, row, look[row.strategy])
    axes.set_yticks(range(len(rows)), [f"{row.strategy}{' ◂' * row.winner}" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("test error: each seed, mean and 95 % interval over seeds")
    return figure


def error_by_epoch(results: Results) -> Figure | None:
    """Validation error against epoch, a panel a strategy: all trials thin, its best thick, and
    the best of full fine-tuning dashed for comparison."""
    curves = _curves(results)
    if not curves:
        return None
    look, best = styles(strategies(results)), best_trials(results)
    figure, panels = _panels(list(curves), height=1.9, share_y=True)
    for strategy, axes in panels.items():
        thin = LineCollection(curves[strategy], colors=look[strategy].light, lw=0.8, alpha=0.4)
        axes.add_collection(thin)
        if strategy != "full" and "full" in best:
            axes.plot(*_curve(best["full"]).T, color=look["full"].light, lw=1.1, ls=_DASHED)
        if strategy in best:
            axes.plot(*_curve(best[strategy]).T, color=look[strategy].light, lw=2.2)
        axes.set_title(_headed(strategy, best.get(strategy)))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _label_outer(panels, "epoch", "validation error")
    _curve_legend(figure, "full" in best and len(curves) > 1, look.get("full"))
    every = np.concatenate([curve for group in curves.values() for curve in group])
    axes.set_ylim(max(0.0, every[:, 1].min() - 0.03), every[:, 1].max() + 0.03)
    axes.set_xlim(0.5, every[:, 0].max() + 0.5)
    return figure


def explored(results: Results) -> Figure | None:
    """What the sampler tried: learning rate and objective of every trial that has a value;
    hollow where the trial was pruned."""
    shown = [trial for trial in results.get("trials") or [] if _point(trial)]
    if not shown:
        return None
    look = styles(strategies(results))
    figure = Figure((_WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    for trial in shown:
        style, full = look[trial["strategy"]], trial["status"] == "COMPLETE"
        axes.plot(
            *_point(trial),  # type: ignore[misc]  # only trials with a point are here
            style.marker,
            color=style.light,
            mfc=style.light if full else "none",
            ms=6 if full else 4.5,
            mew=1.1,
            alpha=0.9 if full else 0.55,
        )
    axes.set_xscale("log")
    _plain_log(axes)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(_objective_in_words(results))
    tried = {trial["strategy"] for trial in shown}
    handles = [_key(name, look[name], ls="", ms=6) for name in ranked(results) if name in tried]
    handles.append(Line2D([], [], color=INK, marker="o", mfc="none", ls="", ms=4.5, label="pruned"))
    _legend(figure, handles, "outside upper left")
    return figure


def heat_maps(results: Results) -> Figure | None:
    """Layer by epoch for the best trial of each strategy: share of the steps in which the
    layer moved, or its mean weight where the strategy weighs learning rates."""
    best = best_trials(results)
    maps = {name: _selection(trial, results["layers"]) for name, trial in best.items()}
    maps = {name: maps[name] for name in ranked(results) if name in maps and maps[name][0]}
    if not maps:
        return None
    rows = max(len(names) for names, _ in maps.values())
    top = max(1.0, *(float(np.nanmax(grid)) for _, grid in maps.values()))
    figure, panels = _panels(list(maps), height=0.75 + 0.17 * min(rows, 30))
    alike = len({tuple(names) for names, _ in maps.values()}) == 1
    for index, (strategy, axes) in enumerate(panels.items()):
        names, grid = maps[strategy]
        epochs = grid.shape[1]
        box = (0.5, epochs + 0.5, len(names) - 0.5, -0.5)
        axes.imshow(grid, _OPACITY, norm=_shade(top), aspect="auto", extent=box)
        axes.grid(False)
        axes.spines[:].set_visible(True)
        axes.set_title(_headed(strategy, best[strategy]))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.set_yticks(*_layer_ticks(names))
        axes.tick_params(axis="y", length=0, labelleft=not alike or _is_left(axes, index))
    _label_outer(panels, "epoch", None)
    _opacity_legend(figure, top)
    return figure


def update_share(results: Results) -> Figure | None:
    """How often each layer moved, strategy by layer: mean over the confirm runs, or over the
    epochs of the best trial where a strategy was not confirmed."""
    layers = list(results["layers"])
    shares = _shares(results, layers)
    if not shares or not layers:
        return None
    grid = np.array([[share.get(layer, math.nan) for layer in layers] for share in shares.values()])
    figure = Figure((_WIDTH, 0.7 + 0.3 * len(shares)), layout="constrained")
    axes = figure.subplots()
    top = max(1.0, float(np.nanmax(grid)))
    axes.imshow(grid, _OPACITY, norm=_shade(top), aspect="auto")
    axes.set_yticks(range(len(shares)), list(shares))
    names = [_layer_head(results, index) for index in range(len(layers))]
    crowded = len(layers) > 10
    axes.set_xticks(range(len(layers)), names, rotation=60 if crowded else 0)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(grid):
        if len(layers) <= 16 and not math.isnan(share):
            axes.text(column, row, percent(float(share)), ha="center", va="center", size=8)
    return figure


FIGURES: Mapping[str, Drawing] = {
    "confirm_intervals": confirm_intervals,
    "error_by_epoch": error_by_epoch,
    "heat_maps": heat_maps,
    "update_share": update_share,
    "explored": explored,
}
"""Every figure by the name of its file."""


def draw(name: str, results: Results) -> Figure | None:
    """One of `FIGURES` in the report's look; None where the results hold nothing to draw."""
    with mpl.rc_context(LOOK):
        return FIGURES[name](results)


# --- what is drawn --------------------------------------------------------------------------------


def _curve(trial: Mapping[str, Any]) -> np.ndarray:
    """Epoch and validation error of a trial, [epochs with a finite error, 2]."""
    points = [(e["epoch"], finite(e.get("val/error"))) for e in trial.get("epochs") or []]
    known = [point for point in points if point[1] is not None]
    return np.array(known, dtype=float).reshape(-1, 2)


def _curves(results: Results) -> dict[str, list[np.ndarray]]:
    """Strategy -> a curve a trial; only what has at least a point."""
    curves: dict[str, list[np.ndarray]] = {}
    for trial in results.get("trials") or []:
        curve = _curve(trial)
        if len(curve):
            curves.setdefault(trial["strategy"], []).append(curve)
    return {name: curves[name] for name in ranked(results) if name in curves}


def _point(trial: Mapping[str, Any]) -> tuple[float, float] | None:
    """Learning rate and objective of a trial, where it has both."""
    training = (trial.get("config") or {}).get("training") or {}
    rate, value = finite(training.get("learning_rate")), finite(trial.get("value"))
    return (rate, value) if rate and rate > 0 and value is not None else None


def _selection(trial: Mapping[str, Any], layers: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Layer names and their update share or mean weight, [layers, epochs]."""
    epochs = trial.get("epochs") or []
    keys = dict.fromkeys(key for epoch in epochs for key in epoch if key.startswith("select/"))
    names = [name for name in layers if f"select/{name}" in keys]
    if not names:  # a strategy with a finer partition of its own
        names = [key[7:] for key in keys if key != "select/transient_share"]
    rows = {name: [finite(epoch.get(f"select/{name}")) for epoch in epochs] for name in names}
    rows = {name: row for name, row in rows.items() if any(value is not None for value in row)}
    return list(rows), np.array(list(rows.values()), dtype=float)


def _shares(results: Results, layers: Sequence[str]) -> dict[str, Mapping[str, float]]:
    confirmed = {e["strategy"]: e["moved"] for e in results.get("confirm") or [] if e.get("moved")}
    shares: dict[str, Mapping[str, float]] = {}
    for strategy in ranked(results):
        if strategy in confirmed:
            shares[strategy] = confirmed[strategy]
        elif strategy in best_trials(results):
            names, grid = _selection(best_trials(results)[strategy], layers)
            if names:
                shares[strategy] = dict(zip(names, np.nanmean(grid, axis=1), strict=True))
    return shares


def _layer_head(results: Results, index: int) -> str:
    """A layer's name above its share of the model's parameters."""
    sizes = results.get("layer_sizes") or []
    name = str(results["layers"][index])
    if len(sizes) != len(results["layers"]) or not sum(sizes):
        return name
    return f"{name}\n{percent(sizes[index] / sum(sizes))}"


# --- how it is drawn ------------------------------------------------------------------------------


def _draw_interval(axes: Axes, place: int, row: ConfirmRow, style: Style) -> None:
    axes.plot(row.tests, [place] * len(row.tests), "|", color=style.light, ms=14, mew=1, alpha=0.6)
    if row.mean is None:
        return
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [place, place], color=style.light, lw=2)
    axes.plot([row.mean], [place], style.marker, color=style.light, ms=7)


def _panels(
    names: Sequence[str], height: float, share_y: bool = False
) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel (of a height in inches) a name, three in a row."""
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure((_WIDTH, 0.3 + height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=share_y, sharey=share_y, squeeze=False)
    flat = list(grid.flat)
    for spare in flat[len(names) :]:
        spare.set_visible(False)
    return figure, dict(zip(names, flat, strict=False))


def _is_left(axes: Axes, index: int) -> bool:
    spec = axes.get_subplotspec()
    return spec is None or spec.is_first_col() or index == 0


def _label_outer(panels: Mapping[str, Axes], x: str, y: str | None) -> None:
    """Axis labels at the left and below the lowest panel of each column only."""
    placed = [(axes, axes.get_subplotspec()) for axes in panels.values()]
    lowest = {spec.colspan.start: axes for axes, spec in placed if spec}
    for axes, spec in placed:
        if spec and spec.is_first_col() and y:
            axes.set_ylabel(y)
        if axes in lowest.values():
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)


def _headed(strategy: str, trial: Mapping[str, Any] | None) -> str:
    return f"{strategy} · trial {trial['id']}" if trial else strategy


def _layer_ticks(names: Sequence[str]) -> tuple[list[int], list[str]]:
    """At most thirty layer names, evenly taken."""
    every = math.ceil(len(names) / 30)
    return list(range(0, len(names), every)), list(names[::every])


def _plain_log(axes: Axes) -> None:
    """Decades as 0.001 and not as powers in math text."""
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _objective_in_words(results: Results) -> str:
    metric = results["objective"]["metric"]
    return str(metric).replace("val/", "validation ")


def _key(label: str, style: Style, **look: Any) -> Line2D:
    return Line2D([], [], **{"color": style.light, "marker": style.marker, **look}, label=label)


def _legend(figure: Figure, handles: Sequence[Artist], place: Place) -> None:
    """One row of keys above or below the panels."""
    count = len(handles)
    figure.legend(handles=handles, loc=place, ncols=min(count, 6), handletextpad=0.4)


def _curve_legend(figure: Figure, has_full: bool, look: Style | None) -> None:
    lines = [("each trial", 0.8, "-"), ("the best one", 2.2, "-")]
    handles = [
        Line2D([], [], color=INK, lw=width, ls=line, label=label) for label, width, line in lines
    ]
    if has_full and look:
        handles.append(_key("the best of full", look, lw=1.1, ls=_DASHED, marker=""))
    _legend(figure, handles, "outside lower right")


def _shade(top: float) -> PowerNorm:
    """0..top to opacity, steep at first: with many layers every share is small."""
    return PowerNorm(0.6, vmin=0, vmax=top)


def _opacity_legend(figure: Figure, top: float) -> None:
    """What the heat maps' opacity means, in five steps."""
    shade = _shade(top)
    handles = [
        Patch(
            facecolor=_OPACITY(float(shade(step * top))),
            edgecolor=INK,
            linewidth=0.4,
            label=percent(step) if top == 1 else f"{step * top:.2g}",
        )
        for step in (0.0, 0.05, 0.25, 0.5, 1.0)
    ]
    _legend(figure, handles, "outside lower right")
