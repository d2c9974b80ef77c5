"""The Pareto front of a search with several objectives: as rows, a table and a figure."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysel.record.state import COMPLETE
from raysel.report.drawing import (
    INK,
    is_left,
    legend,
    panels,
    plot_trials,
    strategy_keys,
    styles,
)
from raysel.report.pareto import pareto_front
from raysel.report.table import Table, make
from raysel.report.tables import plus_minus, ranked, strategies, values_in_words
from raysel.report.words import objective_value
from raysel.spec.sweep import objective_in_words
from raysel.sweep.results import SweepResults

TITLE = "The Pareto front of the search"
"""Of its section on the page."""


@dataclass(frozen=True)
class FrontRow:
    """A trial that no other one dominates.

    Attributes:
        values: its searched values, in words.
        reached: each objective in words, in their order.
        test_error: mean over its configuration's confirm runs, with half its interval; `–` where
            that was not confirmed.
    """

    trial: str
    strategy: str
    values: str
    reached: tuple[str, ...]
    test_error: str


def objectives(results: SweepResults) -> tuple[str, ...]:
    """The objectives, the one that decides first."""
    return (results.objective.metric, *results.objective.secondary)


def heads(results: SweepResults) -> list[str]:
    """The objectives as a table's heads."""
    return [objective_in_words(metric) for metric in objectives(results)]


def front_rows(results: SweepResults) -> list[FrontRow]:
    """The front, from the best by the first objective on; none where there is one objective."""
    trials = {trial.id: trial for trial in results.trials}
    front = [trials[name] for name in results.pareto_front if name in trials]
    tested = {
        entry.trial: plus_minus(entry.test_error.mean, entry.test_error.high)
        for entry in (*results.confirm, *results.other_configurations)
    }
    names = objectives(results)
    front.sort(key=lambda trial: [trial.values[name] for name in names])
    return [
        FrontRow(
            trial.id,
            trial.strategy,
            values_in_words(trial.searched),
            tuple(objective_value(name, trial.values[name]) for name in names),
            tested.get(trial.id, "–"),
        )
        for trial in front
    ]


def front_table(results: SweepResults) -> Table | None:
    """The front with all objectives, for a paper and for a script."""
    trials = {trial.id: trial for trial in results.trials}
    names, words = objectives(results), heads(results)
    return make(
        "pareto_front",
        TITLE,
        "The trials that no other one dominates: none is as good in every objective and better in"
        " one. Values are of the search's validation part; the test error is of the confirm runs.",
        {
            "strategy": False,
            "with": False,
            **dict.fromkeys(words, True),
            "test error": True,
            "trial": False,
        },
        [
            (
                (row.strategy, row.values, *row.reached, row.test_error, row.trial),
                {
                    "trial": row.trial,
                    "strategy": row.strategy,
                    **{name: trials[row.trial].values[name] for name in names},
                },
            )
            for row in front_rows(results)
        ],
    )


def search_front(results: SweepResults) -> Figure | None:
    """The objective against each secondary one, a panel each, a point a complete trial; filled:
    what no other one dominates. A line joins those that no other beats in a panel's two numbers."""
    metric, *shown = objectives(results)
    complete = [trial for trial in results.trials if trial.status == COMPLETE and trial.values]
    if not shown or not complete:
        return None
    look, front = styles(strategies(results), results.verdict.baseline), set(results.pareto_front)
    figure, placed = panels([objective_in_words(name) for name in shown], height=2.9)
    for index, (name, axes) in enumerate(zip(shown, placed.values(), strict=True)):
        points = [(trial.values[name], trial.values[metric]) for trial in complete]
        axes.plot(*zip(*pareto_front(points), strict=True), color=INK, lw=0.9, alpha=0.5)
        pairs = zip(complete, points, strict=True)
        trials = ((trial.strategy, trial.id in front, point) for trial, point in pairs)
        plot_trials(axes, trials, look, size=7)
        axes.margins(x=0.08)
        axes.set_xlabel(objective_in_words(name))
        if is_left(axes, index):
            axes.set_ylabel(objective_in_words(metric))
        else:
            axes.tick_params(labelleft=False)
    tried = {trial.strategy for trial in complete}
    keys: list[Line2D] = strategy_keys([n for n in ranked(results) if n in tried], look)
    legend(figure, keys, "outside lower right")
    return figure
