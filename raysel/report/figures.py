"""The figures of a sweep, drawn from `results.json`; each shows the same strategy in the
same colour (`raysel.report.palette`), the best strategy first.

A figure is a function from the results to a `Figure`, or None where there is nothing to
draw; `raysel.report.render` makes it an element of the page or a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from raysel.common.text import one_line
from raysel.report.blocks import accuracy_by_block, accuracy_by_quarter
from raysel.report.confusions import confusions
from raysel.report.cost import cost_against_error
from raysel.report.curves import accuracy_by_shots, loss_by_epoch
from raysel.report.importances import importances
from raysel.report.maps import (
    OPACITY,
    bias_variance_ratios,
    gradient_norms,
    heat_maps,
    parameter_changes,
    selection,
    shade,
)
from raysel.report.palette import INK, Style, styles
from raysel.report.panels import LABEL, WIDTH, label_outer, legend, panel_title, panels
from raysel.report.tables import (
    ConfirmRow,
    Results,
    best_trials,
    confirm_rows,
    finite,
    percent,
    ranked,
    strategies,
    weighs_rates,
)
from raysel.spec.sweep import objective_in_words

_DASHED = (0, (3, 2))

Drawing = Callable[[Results], Figure | None]


# --- the figures ------------------------------------------------------------------------------


def confirm_intervals(results: Results) -> Figure | None:
    """Test error of each confirmed strategy: every seed, the mean, the 95 % interval."""
    rows = [row for row in confirm_rows(results) if row.mean is not None]
    if not rows:
        return None
    style_of = styles(strategies(results))
    figure = Figure((WIDTH, 0.75 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        _draw_interval(axes, place, row, style_of[row.strategy])
    axes.set_yticks(range(len(rows)), [f"{row.strategy}{' ◂' * row.winner}" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    several = any(row.low is not None for row in rows)
    seeds = "each seed, mean and 95 % interval over seeds" if several else "one seed, no interval"
    axes.set_xlabel(f"test error: {seeds}")
    return figure


def error_by_epoch(results: Results) -> Figure | None:
    """Validation error against epoch, a panel a strategy: all trials thin, its best thick, and
    the best of full fine-tuning dashed for comparison."""
    curves = _curves(results)
    if not curves:
        return None
    style_of, best = styles(strategies(results)), best_trials(results)
    figure, placed = panels(list(curves), height=1.9, share_y=True)
    for strategy, axes in placed.items():
        thin = LineCollection(curves[strategy], colors=style_of[strategy].light, lw=0.8, alpha=0.4)
        axes.add_collection(thin)
        if strategy != "full" and "full" in best:
            axes.plot(*_curve(best["full"]).T, color=style_of["full"].light, lw=1.1, ls=_DASHED)
        if strategy in best:
            axes.plot(*_curve(best[strategy]).T, color=style_of[strategy].light, lw=2.2)
        axes.set_title(panel_title(strategy, best.get(strategy)))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    label_outer(placed, "epoch", "validation error")
    _curve_legend(figure, "full" in best and len(curves) > 1, style_of.get("full"))
    every = np.concatenate([curve for group in curves.values() for curve in group])
    axes.set_ylim(max(0.0, every[:, 1].min() - 0.03), every[:, 1].max() + 0.03)
    axes.set_xlim(0.5, every[:, 0].max() + 0.5)
    return figure


def explored(results: Results) -> Figure | None:
    """What the sampler tried: learning rate and objective of every complete trial, and of every
    pruned one (hollow) with its last value."""
    shown = [trial for trial in results.get("trials") or [] if _point(trial, results)]
    if not shown:
        return None
    style_of = styles(strategies(results))
    figure = Figure((WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    for trial in shown:
        style, full = style_of[trial["strategy"]], trial["status"] == "COMPLETE"
        axes.plot(
            *_point(trial, results),  # type: ignore[misc]  # only trials with a point are here
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
    handles = [_key(name, style_of[name], ls="", ms=6) for name in ranked(results) if name in tried]
    if any(trial["status"] == "PRUNED" for trial in shown):
        key = Line2D(
            [], [], color=INK, marker="o", mfc="none", ls="", ms=4.5, label="pruned, last value"
        )
        handles.append(key)
    legend(figure, handles, "outside upper left")
    return figure


def update_share(results: Results) -> Figure | None:
    """How often each layer moved, strategy by layer: mean over the confirm runs, or over the
    epochs of the best trial where a strategy was not confirmed."""
    layers = list(results["layers"])
    shares = _shares(results, layers)
    if not shares or not layers:
        return None
    grid = np.array([[share.get(layer, math.nan) for layer in layers] for share in shares.values()])
    figure = Figure((WIDTH, 0.7 + 0.3 * len(shares)), layout="constrained")
    axes = figure.subplots()
    top = max(1.0, float(np.nanmax(grid)))
    axes.imshow(grid, OPACITY, norm=shade(top), aspect="auto")
    axes.set_yticks(range(len(shares)), list(shares))
    names = [_layer_head(results, index) for index in range(len(layers))]
    crowded = len(layers) > 10
    axes.set_xticks(range(len(layers)), names, rotation=60 if crowded else 0)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    weighed = {entry["strategy"] for entry in results.get("confirm") or [] if weighs_rates(entry)}
    for (row, column), share in np.ndenumerate(grid):
        if len(layers) <= 16 and not math.isnan(share):
            words = f"{share:.2g}" if list(shares)[row] in weighed else percent(float(share))
            axes.text(column, row, words, ha="center", va="center", size=8)
    return figure


FIGURES: Mapping[str, Drawing] = {
    "confirm_intervals": confirm_intervals,
    "cost_against_error": cost_against_error,
    "confusions": confusions,
    "error_by_epoch": error_by_epoch,
    "loss_by_epoch": loss_by_epoch,
    "accuracy_by_shots": accuracy_by_shots,
    "accuracy_by_block": accuracy_by_block,
    "accuracy_by_quarter": accuracy_by_quarter,
    "heat_maps": heat_maps,
    "update_share": update_share,
    "bias_variance_ratios": bias_variance_ratios,
    "gradient_norms": gradient_norms,
    "parameter_changes": parameter_changes,
    "explored": explored,
    "importances": importances,
}
"""Every figure by the name of its file."""


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


def _point(trial: Mapping[str, Any], results: Results) -> tuple[float, float] | None:
    """Learning rate and objective of a complete or pruned trial, where it has both."""
    training = (trial.get("config") or {}).get("training") or {}
    rate, value = finite(training.get("learning_rate")), finite(trial.get("value"))
    if trial["status"] == "PRUNED":
        metric = results["objective"]["metric"]
        known = [finite(epoch.get(metric)) for epoch in trial.get("epochs") or []]
        value = next((v for v in reversed(known) if v is not None), None)
    elif trial["status"] != "COMPLETE":
        return None
    return (rate, value) if rate and rate > 0 and value is not None else None


def _shares(results: Results, layers: Sequence[str]) -> dict[str, Mapping[str, float]]:
    confirmed = {e["strategy"]: e["moved"] for e in results.get("confirm") or [] if e.get("moved")}
    shares: dict[str, Mapping[str, float]] = {}
    for strategy in ranked(results):
        if strategy in confirmed:
            shares[strategy] = confirmed[strategy]
        elif strategy in best_trials(results):
            names, grid = selection(best_trials(results)[strategy], layers)
            if names:
                shares[strategy] = dict(zip(names, np.nanmean(grid, axis=1), strict=True))
    return shares


def _layer_head(results: Results, index: int) -> str:
    """A layer's name above its share of the model's parameters."""
    sizes = results.get("layer_sizes") or []
    name = one_line(results["layers"][index], LABEL)
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


def _plain_log(axes: Axes) -> None:
    """Decades as 0.001 and not as powers in math text."""
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _objective_in_words(results: Results) -> str:
    return objective_in_words(results["objective"]["metric"])


def _key(label: str, style: Style, **options: Any) -> Line2D:
    return Line2D([], [], **{"color": style.light, "marker": style.marker, **options}, label=label)


def _curve_legend(figure: Figure, has_full: bool, style: Style | None) -> None:
    lines = [("each trial", 0.8, "-"), ("the best one", 2.2, "-")]
    handles = [
        Line2D([], [], color=INK, lw=width, ls=line, label=label) for label, width, line in lines
    ]
    if has_full and style:
        handles.append(_key("the best of full", style, lw=1.1, ls=_DASHED, marker=""))
    legend(figure, handles, "outside lower right")
