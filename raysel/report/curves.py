"""Curves of a sweep's strategies: loss against epoch, accuracy against the number of shots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from raysel.report.drawing import Style, label_outer, legend, panels, strategy_keys, styles
from raysel.report.tables import best_trials, completed, ranked, strategies
from raysel.sweep.ranking import leaders
from raysel.sweep.results import ConfirmedStrategy, SweepResults, TrialResult

Points = Sequence[tuple[float, float]]
"""(x, y) by x."""


def loss_by_epoch(results: SweepResults) -> Figure | None:
    """Training and validation loss of the best trial of each strategy side by side; beside
    them the test loss of the confirm runs, their mean, where every epoch was tested."""
    best = best_trials(results)
    drawn: dict[str, dict[str, Points]] = {
        "training loss": {name: trial.curve("train/loss") for name, trial in best.items()},
        "validation loss": {name: trial.curve("val/loss") for name, trial in best.items()},
        "test loss": {entry.strategy: _test_losses(entry) for entry in results.confirm},
    }
    drawn = {title: lines for title, lines in drawn.items() if any(lines.values())}
    if not drawn:
        return None
    style_of, order = styles(strategies(results), results.verdict.baseline), ranked(results)
    figure, placed = panels(list(drawn), height=2.6)
    for title, axes in placed.items():
        for name in order:
            _line(axes, drawn[title].get(name, ()), style_of[name])
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.set_ylim(bottom=0.0)
    label_outer(placed, "epoch", None)
    shown = {name for lines in drawn.values() for name, points in lines.items() if points}
    legend(
        figure,
        strategy_keys([name for name in order if name in shown], style_of),
        "outside lower right",
    )
    return figure


def accuracy_by_shots(results: SweepResults) -> Figure | None:
    """Validation accuracy of the best trial of each strategy at each number of examples a
    class; nothing where the search had but one number."""
    lines = shots_searched(results)
    counts = sorted({shots for points in lines.values() for shots, _ in points})
    if len(counts) < 2:
        return None
    style_of = styles(strategies(results), results.verdict.baseline)
    figure, placed = panels(["accuracy"], height=3.2)
    axes = placed["accuracy"]
    order = [name for name in ranked(results) if lines.get(name)]
    for name in order:
        _line(axes, lines[name], style_of[name])
    shots_axis(axes, counts)
    axes.set_ylabel("validation accuracy")
    legend(figure, strategy_keys(order, style_of), "outside lower right")
    return figure


def shots_searched(results: SweepResults) -> dict[str, Points]:
    """Strategy -> (shots, validation accuracy of its best complete trial with so many)."""
    by_shots: dict[int, list[TrialResult]] = {}
    for trial in completed(results):
        if (shots := trial.training.get("shots")) is not None:
            by_shots.setdefault(int(shots), []).append(trial)
    lines: dict[str, list[tuple[float, float]]] = {}
    for shots, trials in sorted(by_shots.items()):
        for name, trial in leaders(trials, results.objective.metric).items():
            if (accuracy := accuracy_of(trial)) is not None:
                lines.setdefault(name, []).append((shots, accuracy))
    return dict(lines)


def accuracy_of(trial: TrialResult) -> float | None:
    """1 - validation error at the trial's best epoch, 0..1."""
    error = trial.at_best("val/error")
    return None if error is None else 1.0 - error


def shots_axis(axes: Axes, counts: Iterable[float]) -> None:
    """A logarithmic axis with a tick at each number of shots."""
    ticks = sorted(set(counts))
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("target examples a class")


def _test_losses(entry: ConfirmedStrategy) -> Points:
    """The mean over the runs of a strategy, at the epochs that all of them have."""
    curves = [{row.epoch: row.loss for row in run.test_curve} for run in entry.runs]
    curves = [curve for curve in curves if curve]
    epochs = sorted(set.intersection(*map(set, curves))) if curves else []
    values = {epoch: [curve[epoch] for curve in curves] for epoch in epochs}
    return [
        (epoch, float(np.mean([value for value in known if value is not None])))
        for epoch, known in values.items()
        if None not in known
    ]


def _line(axes: Axes, points: Points, style: Style) -> None:
    if points:
        few = len(points) <= 20
        every = None if few else max(1, len(points) // 8)
        x, y = zip(*points, strict=True)
        axes.plot(
            x, y, marker=style.marker, markevery=every, ms=4, lw=1.4, color=style.light, alpha=0.9
        )
