"""Every table of a sweep's report, for a paper and for a script.

Sections, order and words are those of the page (`index.html.j2`); a test keeps both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysel.report import pareto, tables
from raysel.report.confusions import measure_rows
from raysel.report.group_errors import groups_for_paper
from raysel.report.published_tables import Comparison as Published
from raysel.report.published_tables import compare
from raysel.report.search_front import front_table
from raysel.report.table import Table, make
from raysel.report.words import (
    in_points,
    mebibytes,
    number,
    p_value,
    seconds,
    size_in_points,
)
from raysel.spec.sweep import Spec, objective_in_words
from raysel.sweep.results import Comparison, Interval, SweepResults
from raysel.sweep.verdict_words import measure_in_words

_MEASURES = ("test_error", "test_balanced_error", "test_top5_error")


def sweep_tables(results: SweepResults, spec: Spec | None) -> list[Table]:
    """The tables that have rows.

    Args:
        spec: the sweep's file, for the published tables beside its own; None where it cannot be
            read.
    """
    published = compare(results, spec) if spec else []
    found = [
        _differences(results),
        _effort(results),
        _improvement(results),
        _confirmed(results),
        _cost(results),
        _distances(results),
        _measures(results),
        groups_for_paper(results),
        *(_published(one, index) for index, one in enumerate(published, 1)),
        _searched(results),
        front_table(results),
        _trials(results),
    ]
    return [table for table in found if table is not None]


def interval_values(name: str, interval: Interval) -> dict[str, Any]:
    """An interval's four values under names of their own."""
    return {f"{name}_{part}": value for part, value in interval.model_dump().items()}


def _differences(results: SweepResults) -> Table | None:
    verdict = results.verdict
    over = f"{verdict.splits} splits" if verdict.splits > 1 else "training seeds on one split"
    return make(
        "differences",
        "What was shown",
        f"Differences of {measure_in_words(verdict.measure)} in points, paired over {over}, with"
        f" their {100 * (1 - verdict.level):.3g} % intervals; p is corrected for several"
        " comparisons (Holm); detectable is the true difference that as many splits would show with"
        " a probability of 80 %.",
        {
            "comparison": False,
            "points": True,
            "interval": True,
            "p (Holm)": True,
            "outcome": False,
            "detectable": True,
        },
        [(_difference(c), c.model_dump()) for c in verdict.contrasts + verdict.against_baseline],
    )


def _difference(c: Comparison) -> tuple[str, ...]:
    between = "–" if c.low is None else f"{in_points(c.low)} to {in_points(c.high)}"
    return (
        f"{c.ours} − {c.theirs}",
        in_points(c.difference),
        between,
        p_value(c.p_holm),
        c.outcome.replace("_", " "),
        size_in_points(c.detectable),
    )


def _effort(results: SweepResults) -> Table | None:
    rows = []
    for e in results.effort:
        counts = (e.trials, e.complete, e.pruned, e.failed, e.replicates, e.epochs, e.searched)
        words = {"at_edge": ", ".join(e.at_edge), "outermost": "; ".join(e.outermost)}
        values = e.model_dump(exclude={"curve"}) | words
        rows.append(((e.strategy, *map(str, counts), "; ".join(tables.effort_remarks(e))), values))
    heads = ("trials", "complete", "pruned", "failed", "other seeds", "epochs", "values searched")
    return make(
        "effort",
        "Tuning effort",
        "The tuning that each strategy's configuration rests on.",
        {"strategy": False, **dict.fromkeys(heads, True), "remarks": False},
        rows,
    )


def _improvement(results: SweepResults) -> Table | None:
    rows = [
        (
            (i.ours, i.theirs, _percent(i.probability), f"{_percent(i.low)} to {_percent(i.high)}"),
            i.model_dump(),
        )
        for i in results.improvement
    ]
    return make(
        "improvement",
        "How often one beats the other",
        "Probability that a run of the first has a smaller test error than a run of the second,"
        " with a bootstrap's 95 % interval over runs.",
        {"first": False, "second": False, "probability": True, "interval": True},
        rows,
    )


def _confirmed(results: SweepResults) -> Table | None:
    entries = {entry.strategy: entry for entry in results.confirm}
    rows = []
    for row in tables.confirm_rows(results):
        entry = entries[row.strategy]
        words = (
            f"{row.strategy}{' ◂' * row.winner}",
            row.test_error,
            number(row.validation),
            row.layers,
            row.parameters,
            seconds(row.seconds),
        )
        values = {
            "strategy": row.strategy,
            "winner": row.winner,
            **interval_values("test_error", entry.test_error),
            "validation": entry.validation,
            "updated_share": entry.updated_share,
            "seconds": entry.seconds,
            "trial": entry.trial,
            "label": entry.label,
        }
        rows.append((words, values))
    metric = objective_in_words(results.objective.metric)
    return make(
        "confirmed",
        "Confirmed",
        "The best configuration of each strategy, trained again: test error with half its 95 %"
        f" interval over the runs, {metric} (mean), layers that moved, share of the parameters"
        " that moved, time of a run. ◂ is what the search had chosen.",
        {
            "strategy": False,
            "test error": True,
            metric: True,
            "layers moved": False,
            "parameters": True,
            "time": True,
        },
        rows,
    )


def _cost(results: SweepResults) -> Table | None:
    rows = []
    for row in pareto.cost_rows(results):
        words = (
            f"{row.strategy}{' ◂' * row.winner}",
            pareto.error_in_words(row),
            pareto.forgetting_in_words(row),
            pareto.source_in_words(row),
            mebibytes(row.peak_memory_bytes),
            seconds(row.seconds),
            row.farthest,
            ", ".join(row.dominated_by) or "none",
        )
        values = {
            "strategy": row.strategy,
            "winner": row.winner,
            **interval_values("test_error", row.error),
            **interval_values("forgetting", row.forgetting),
            "source_error_before": row.source_before,
            "source_error": row.source_after,
            "peak_memory_bytes": row.peak_memory_bytes,
            "seconds": row.seconds,
            "dominated_by": ", ".join(row.dominated_by),
        }
        rows.append((words, values))
    return make(
        "cost",
        pareto.TITLE,
        "Test error, forgetting (rise of the error on the source's validation examples, in points)"
        " with half their 95 % intervals, that error before and after, peak memory in MiB, time of"
        " a run, the layer that went farthest (relative distance), and which strategies are as"
        " good in all of it and better in something.",
        {
            "strategy": False,
            "test error": True,
            "forgetting": True,
            "source error": True,
            "memory": True,
            "time": True,
            "farthest layer": False,
            "dominated by": False,
        },
        rows,
    )


def _distances(results: SweepResults) -> Table | None:
    rows = [
        (
            (row.strategy, *(_short(row.distance.get(layer)) for layer in results.layers)),
            {"strategy": row.strategy, **{n: row.distance.get(n) for n in results.layers}},
        )
        for row in pareto.cost_rows(results)
        if row.distance
    ]
    return make(
        "distances",
        "How far each layer ended from its start",
        "Norm of the change of each layer's parameters over their norm at the start, in the models"
        " that were tested, mean over the runs.",
        {"strategy": False, **dict.fromkeys(results.layers, True)},
        rows,
    )


def _measures(results: SweepResults) -> Table | None:
    entries = {entry.strategy: entry for entry in results.confirm}
    rows = []
    for row in measure_rows(results):
        runs = entries[row.strategy].runs
        values = {name: _mean([getattr(run, name) for run in runs]) for name in _MEASURES}
        words = (row.strategy, row.error, row.balanced, row.top5)
        rows.append((words, {"strategy": row.strategy, **values}))
    return make(
        "measures",
        "Balanced, top 5, and what is taken for what",
        "Test errors of the confirmed models, mean and half the 95 % interval over the runs.",
        {"strategy": False, "test error": True, "balanced": True, "top 5": True},
        rows,
    )


def _published(table: Published, index: int) -> Table | None:
    rows = []
    for row in table.rows:
        ours = f"{100 * row.ours:.2f}"
        if row.low is not None and row.high is not None:
            ours += f" ({100 * row.low:.2f} to {100 * row.high:.2f})"
        inside = "no interval" if row.inside is None else "yes" if row.inside else "no"
        words = (
            row.strategy,
            row.published,
            ours,
            f"{100 * row.theirs:.2f}",
            f"{100 * row.difference:+.2f}".replace("-", "−"),
            inside,
            ", ".join(row.differs),
        )
        rows.append((words, {**row.__dict__, "differs": ", ".join(row.differs)}))
    return make(
        f"published_{index}",
        "Beside the paper",
        f"{table.paper}, {table.table}: test errors in percent, ours with its 95 % interval.",
        {
            "strategy": False,
            "published as": False,
            "ours": True,
            "theirs": True,
            "difference": True,
            "theirs in our interval": False,
            "what differs": False,
        },
        rows,
    )


def _searched(results: SweepResults) -> Table | None:
    metric = objective_in_words(results.objective.metric)
    rows = []
    for row in tables.search_rows(results):
        counts = (row.done, row.pruned, row.failed, row.interrupted)
        best = (number(row.best), row.best_trial or "–", row.with_values or "–")
        rows.append(((row.strategy, *map(str, counts), *best), row.__dict__))
    heads = dict.fromkeys(("done", "pruned", "failed", "stopped", f"best {metric}"), True)
    return make(
        "searched",
        "Searched",
        f"Trials of the search by strategy, and the best complete one by {metric}.",
        {"strategy": False, **heads, "trial": False, "with": False},
        rows,
    )


def _trials(results: SweepResults) -> Table | None:
    metric = objective_in_words(results.objective.metric)
    searched = list(dict.fromkeys(name for trial in results.trials for name in trial.searched))
    rows = []
    for trial in sorted(results.trials, key=lambda one: one.number):
        epoch = "–" if trial.best_epoch is None else str(trial.best_epoch)
        state = f"{trial.status}: {trial.cause}" if trial.cause else trial.status
        words = (
            trial.id,
            trial.strategy,
            tables.values_in_words(trial.searched) or "–",
            number(trial.value, 4),
            epoch,
            str(len(trial.epochs)),
            seconds(trial.seconds),
            state,
        )
        values: Mapping[str, Any] = {
            **trial.model_dump(include={"id", "strategy", "status", "cause", "value"}),
            "best_epoch": trial.best_epoch,
            "epochs": len(trial.epochs),
            "seconds": trial.seconds,
            **{name: trial.searched.get(name) for name in searched},
        }
        rows.append((words, values))
    return make(
        "trials",
        "Every trial",
        "Every trial of the search.",
        {
            "trial": True,
            "strategy": False,
            "with": False,
            f"best {metric}": True,
            "best epoch": True,
            "epochs": True,
            "time": True,
            "state": False,
        },
        rows,
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else tables.percent(share)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
