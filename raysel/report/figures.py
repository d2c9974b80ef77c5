"""The figures of a sweep, drawn from its results; each shows the same strategy in the same
colour (`raysel.report.drawing`), the best strategy first.

A figure is a function from the results to a `Figure`, or None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from raysel.record.state import COMPLETE, PRUNED
from raysel.report.blocks import accuracy_by_block, accuracy_by_quarter
from raysel.report.confusions import WithConfusions, confusions
from raysel.report.curves import accuracy_by_shots, loss_by_epoch
from raysel.report.drawing import (
    INK,
    WIDTH,
    Style,
    label_outer,
    legend,
    panel_title,
    panels,
    plot_trials,
    styles,
)
from raysel.report.layer_grids import distances, update_share
from raysel.report.maps import (
    bias_variance_ratios,
    gradient_norms,
    heat_maps,
    parameter_changes,
)
from raysel.report.pareto import cost_against_error
from raysel.report.search_front import search_front
from raysel.report.tables import (
    ConfirmRow,
    best_trials,
    confirm_rows,
    finite,
    percent,
    ranked,
    strategies,
)
from raysel.report.verdict_figures import best_of_trials, differences
from raysel.spec.sweep import objective_in_words
from raysel.sweep.results import SweepResults, TrialResult

_DASHED = (0, (3, 2))

Drawing = Callable[[WithConfusions], Figure | None]


# --- the figures ------------------------------------------------------------------------------


def confirm_intervals(results: SweepResults) -> Figure | None:
    """Test error of each confirmed strategy: every run, the mean, the 95 % interval."""
    rows = [row for row in confirm_rows(results) if row.mean is not None]
    if not rows:
        return None
    look = styles(strategies(results), results.verdict.baseline)
    figure = Figure((WIDTH, 0.75 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        _draw_interval(axes, place, row, look[row.strategy])
    axes.set_yticks(range(len(rows)), [f"{row.strategy}{' ◂' * row.winner}" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    several = any(row.low is not None for row in rows)
    runs = "each run, mean and 95 % interval over runs" if several else "one run, no interval"
    axes.set_xlabel(f"test error: {runs}")
    return figure


def error_by_epoch(results: SweepResults) -> Figure | None:
    """Validation error against epoch, a panel a strategy: all trials thin, its best thick, and
    the best of full fine-tuning dashed for comparison."""
    curves = _curves(results)
    if not curves:
        return None
    full = results.verdict.baseline
    look, best = styles(strategies(results), full), best_trials(results)
    figure, placed = panels(list(curves), height=1.9, share_y=True)
    for strategy, axes in placed.items():
        thin = LineCollection(curves[strategy], colors=look[strategy].light, lw=0.8, alpha=0.4)
        axes.add_collection(thin)
        if strategy != full and full in best:
            axes.plot(*_curve(best[full]).T, color=look[full].light, lw=1.1, ls=_DASHED)
        if strategy in best:
            axes.plot(*_curve(best[strategy]).T, color=look[strategy].light, lw=2.2)
        axes.set_title(panel_title(strategy, best.get(strategy)))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    label_outer(placed, "epoch", "validation error")
    _curve_legend(figure, full in best and len(curves) > 1, look.get(full))
    every = np.concatenate([curve for group in curves.values() for curve in group])
    axes.set_ylim(max(0.0, every[:, 1].min() - 0.03), every[:, 1].max() + 0.03)
    axes.set_xlim(0.5, every[:, 0].max() + 0.5)
    return figure


def explored(results: SweepResults) -> Figure | None:
    """What the sampler tried: learning rate and objective of every complete trial, and of every
    pruned one (hollow) with its last value."""
    metric = results.objective.metric
    points = [(trial, _point(trial, metric)) for trial in results.trials]
    shown = [(trial, point) for trial, point in points if point is not None]
    if not shown:
        return None
    look = styles(strategies(results), results.verdict.baseline)
    figure = Figure((WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    trials = ((trial.strategy, trial.status == COMPLETE, point) for trial, point in shown)
    plot_trials(axes, trials, look, size=6, mew=1.1)
    axes.set_xscale("log")
    _plain_log(axes)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(objective_in_words(metric))
    tried = {trial.strategy for trial, _ in shown}
    handles = [_key(name, look[name], ls="", ms=6) for name in ranked(results) if name in tried]
    if any(trial.status == PRUNED for trial, _ in shown):
        key = Line2D(
            [], [], color=INK, marker="o", mfc="none", ls="", ms=4.5, label="pruned, last value"
        )
        handles.append(key)
    legend(figure, handles, "outside upper left")
    return figure


def importances(results: SweepResults) -> Figure | None:
    """How much each searched value decides whether a trial is among the best quarter: over all
    complete trials, then for each strategy with enough of its own (`raysel.sweep.importance`)."""
    groups = {row.strategy: row for row in results.importance}
    if not groups:
        return None
    look = styles(strategies(results), results.verdict.baseline)
    most = max(len(row.of) for row in groups.values())
    titles = {name: f"{name or 'all'} · {row.trials} trials" for name, row in groups.items()}
    figure, placed = panels(list(titles.values()), height=0.6 + 0.27 * most)
    for name, row in groups.items():
        axes, shares = placed[titles[name]], list(row.of.values())
        colour = look[name].light if name in look else INK
        axes.barh(range(len(shares)), shares, height=0.62, color=colour)
        for place, share in enumerate(shares):
            axes.text(share + 0.02, place, percent(share), va="center", size=8)
        axes.set_yticks(range(len(shares)), [value.replace("_", " ") for value in row.of])
        axes.set_ylim(most - 0.5, -0.5)
        axes.set_xlim(0, 1.18)
        axes.set_xticks([0, 0.5, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(titles[name])
    label_outer(placed, "importance", None)
    return figure


FIGURES: Mapping[str, Drawing] = {
    "differences": differences,
    "best_of_trials": best_of_trials,
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
    "distances": distances,
    "bias_variance_ratios": bias_variance_ratios,
    "gradient_norms": gradient_norms,
    "parameter_changes": parameter_changes,
    "search_front": search_front,
    "explored": explored,
    "importances": importances,
}
"""Every figure by the name of its file."""


# --- what is drawn --------------------------------------------------------------------------------


def _curve(trial: TrialResult) -> np.ndarray:
    """Epoch and validation error of a trial, [epochs with a finite error, 2]."""
    return np.array(trial.curve("val/error"), dtype=float).reshape(-1, 2)


def _curves(results: SweepResults) -> dict[str, list[np.ndarray]]:
    """Strategy -> a curve a trial; only what has at least a point."""
    curves: dict[str, list[np.ndarray]] = {}
    for trial in results.trials:
        curve = _curve(trial)
        if len(curve):
            curves.setdefault(trial.strategy, []).append(curve)
    return {name: curves[name] for name in ranked(results) if name in curves}


def _point(trial: TrialResult, metric: str) -> tuple[float, float] | None:
    """Learning rate and objective of a complete or pruned trial, where it has both."""
    rate, value = finite(trial.training.get("learning_rate")), trial.value
    if trial.status == PRUNED:
        value = next((value for _, value in reversed(trial.curve(metric))), None)
    elif trial.status != COMPLETE:
        return None
    return (rate, value) if rate and rate > 0 and value is not None else None


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


def _key(label: str, style: Style, **look: Any) -> Line2D:
    return Line2D([], [], **{"color": style.light, "marker": style.marker, **look}, label=label)


def _curve_legend(figure: Figure, has_full: bool, style: Style | None) -> None:
    lines = [("each trial", 0.8, "-"), ("the best one", 2.2, "-")]
    handles = [
        Line2D([], [], color=INK, lw=width, ls=line, label=label) for label, width, line in lines
    ]
    if has_full and style:
        handles.append(_key("the best of full", style, lw=1.1, ls=_DASHED, marker=""))
    legend(figure, handles, "outside lower right")
