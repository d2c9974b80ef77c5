"""The figures that carry the verdict: each strategy's difference from full fine-tuning, and what a
strategy reaches with how much tuning."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raysel.report.drawing import INK, WIDTH, Style, legend, strategy_keys, styles
from raysel.report.tables import strategies
from raysel.spec.sweep import objective_in_words
from raysel.sweep.results import Comparison, SweepResults
from raysel.sweep.verdict_words import measure_in_words

SHOWN = ("better", "worse", "no_relevant_difference")
"""Outcomes that say something: their intervals are drawn broad."""


def differences(results: SweepResults) -> Figure | None:
    """Each contrast of the file, then each strategy against full fine-tuning: the mean difference
    of test error with its interval; the zone of no relevant difference is shaded."""
    verdict = results.verdict
    rows = [c for c in (*verdict.contrasts, *verdict.against_baseline) if c.difference is not None]
    if not rows:
        return None
    look = styles([*{*strategies(results), *(row.ours for row in rows)}], results.verdict.baseline)
    figure, axes = difference_rows(rows, verdict.smallest_effect)
    for place, row in enumerate(rows):
        mark_difference(axes, place, row, look[row.ours])
    confidence = f"{100 * (1 - verdict.level):.3g} %"
    over = f"{verdict.splits} splits" if verdict.splits > 1 else "training seeds on one split"
    what = f"difference of {measure_in_words(verdict.measure)} in points"
    axes.set_xlabel(f"{what}, mean and {confidence} interval over {over}")
    return figure


def difference_rows(rows: Sequence[Comparison], smallest_effect: float) -> tuple[Figure, Axes]:
    """An empty figure with a row for each comparison and the zone of no relevant difference."""
    figure = Figure((WIDTH, 0.9 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    prepare_rows(axes, [f"{row.ours} − {row.theirs}" for row in rows], smallest_effect)
    return figure, axes


def prepare_rows(axes: Axes, labels: Sequence[str], smallest_effect: float) -> None:
    """Name the rows of a panel, and draw the zone of no relevant difference."""
    axes.axvspan(-100 * smallest_effect, 100 * smallest_effect, color=INK, alpha=0.08, lw=0)
    axes.axvline(0, color=INK, lw=0.9)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def mark_difference(axes: Axes, place: int, row: Comparison, style: Style) -> None:
    """Mean and interval in a row; broad where something is shown."""
    if row.low is not None and row.high is not None:
        shown = row.outcome in SHOWN
        ends, width = [100 * row.low, 100 * row.high], 2.4 if shown else 1.1
        axes.plot(ends, [place, place], color=style.light, lw=width, alpha=0.9 if shown else 0.6)
    axes.plot(100 * (row.difference or 0.0), place, style.marker, color=style.light, ms=7)


def best_of_trials(results: SweepResults) -> Figure | None:
    """Best validation value against the number of tuning trials, a line a strategy with its band:
    a strategy that wins only after many trials is distinguished from one that wins at the third."""
    curves = {e.strategy: e.curve for e in results.effort if e.curve and len(e.curve.best) > 1}
    if not curves:
        return None
    look = styles([*{*strategies(results), *curves}], results.verdict.baseline)
    figure = Figure((WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        trials, colour = range(1, len(curve.best) + 1), look[name].light
        step = "steps-post" if curve.estimator == "best_so_far" else "default"
        axes.plot(trials, curve.best, color=colour, lw=1.6, drawstyle=step)
        axes.plot(trials[-1], curve.best[-1], look[name].marker, color=colour, ms=6)
        if curve.low != curve.high:
            axes.fill_between(trials, curve.low, curve.high, color=colour, alpha=0.12, lw=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("complete tuning trials")
    axes.set_ylabel(f"best {objective_in_words(results.objective.metric)}")
    legend(figure, strategy_keys(list(curves), look), "outside lower right")
    return figure
