"""What `raysel list` and `raysel show` say, as values: JSON as they are, rows for a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysel.mlflow_sync.runs import note
from raysel.record.state import (
    COMPLETE,
    ENDED,
    POINT,
    RANGE,
    RANGE_SUGGESTED,
    TESTED_STEPS,
    WARM,
    TrialState,
)
from raysel.report.tables import layers_in_words, values_in_words, weights_in_words
from raysel.sweep import ranking
from raysel.sweep.views import SweepView

_SECONDS = "cost/seconds"

_EARLIER = {POINT: "a configuration of", WARM: "suggested by tpe with trials of"}


@dataclass(frozen=True)
class SweepRow:
    """One sweep of a list.

    Attributes:
        state: COMPLETE, INTERRUPTED, or RUNNING while somebody runs it.
        done, trials: trials of the search that have ended, and how many there will be at
            most (a space that is smaller has fewer).
        confirmed, runs: runs of the confirm phase likewise; `runs` is 0 before it is known.
        best: the best objective of a completed trial, by the trial `best_trial`.
        running: who runs it, in words.
        copy_of: the name in its own file, where that is not its folder's: one that was copied.
    """

    name: str
    state: str
    cause: str | None
    done: int
    trials: int
    confirmed: int
    runs: int
    metric: str
    best: float | None
    best_trial: str | None
    best_label: str | None
    started_at: float | None
    running: str | None
    verdict: str | None
    copy_of: str | None = None


@dataclass(frozen=True)
class TrialLine:
    """One trial of a sweep.

    Attributes:
        test_error: in the confirm phase only.
        values: where there are several objectives, each of them, by name.
        on_front: whether no other trial of the search dominates it; of one objective never.
    """

    id: str
    phase: str
    strategy: str
    label: str
    state: str
    cause: str | None
    value: float | None
    test_error: float | None
    epochs: int
    of: int
    seconds: float
    values: Mapping[str, float]
    on_front: bool


@dataclass(frozen=True)
class RangeLine:
    """One range test before the search.

    Attributes:
        steps: optimizer steps; None before it has ended.
        suggested: the learning rate; None where it suggests none.
    """

    id: str
    strategy: str
    state: str
    cause: str | None
    steps: int | None
    suggested: float | None


@dataclass(frozen=True)
class Moved:
    """A layer in one trial: its mean weight in each epoch, and over all."""

    layer: str
    share: float
    epochs: tuple[float | None, ...]


def sweep_row(view: SweepView) -> SweepRow:
    """One sweep in a list."""
    sweep, search, confirm = view.sweep, view.phase("search"), view.phase("confirm")
    best = best_trial(view)
    done = sum(trial.status in ENDED for trial in search)
    complete = sweep.status == COMPLETE
    metric, asked = view.spec.objective.metric, view.spec.confirm.configurations
    chosen = ranking.finalists(search, metric, asked)
    planned = len(chosen) * view.spec.confirm.runs if confirm else 0
    return SweepRow(
        name=view.folder.name,
        copy_of=None if sweep.name in ("", view.folder.name) else sweep.name,
        state=sweep.status,
        cause=sweep.cause,
        done=done,
        trials=len(search) if complete else max(view.spec.search.num_trials, len(search)),
        confirmed=sum(trial.status in ENDED for trial in confirm),
        runs=len(confirm) if complete else max(planned, len(confirm)),
        metric=view.spec.objective.metric,
        best=best.value if best else None,
        best_trial=best.id if best else None,
        best_label=best.label if best else None,
        started_at=sweep.started_at,
        running=str(view.holder) if view.holder else None,
        verdict=sweep.verdict,
    )


def best_trial(view: SweepView) -> TrialState | None:
    """The search's best completed trial."""
    complete = [trial for trial in view.phase("search") if trial.status == COMPLETE]
    return ranking.best_trial(complete, view.spec.objective.metric)


def trial_lines(view: SweepView) -> list[TrialLine]:
    """The trials of a sweep, those of the search first."""
    search = view.phase("search")
    front = {trial.id for trial in ranking.pareto_front(search, view.spec.objective.metric)}
    return [trial_line(trial, trial.id in front) for trial in (*search, *view.phase("confirm"))]


def range_lines(view: SweepView) -> list[RangeLine]:
    """The range tests of a sweep, by arm in the order of the file."""
    lines = []
    for trial in view.phase(RANGE):
        steps, suggested = (trial.end_metrics.get(name) for name in (TESTED_STEPS, RANGE_SUGGESTED))
        taken = None if steps is None else int(steps)
        lines.append(
            RangeLine(trial.id, trial.strategy, trial.status, trial.cause, taken, suggested)
        )
    return lines


def trial_line(trial: TrialState, on_front: bool) -> TrialLine:
    """One trial in a table."""
    training = trial.config.get("training") or {}
    return TrialLine(
        id=trial.id,
        phase=trial.phase,
        strategy=trial.strategy,
        label=trial.label,
        state=trial.status,
        cause=trial.cause,
        value=trial.value,
        test_error=trial.end_metrics.get("test/error"),
        epochs=len(trial.epochs),
        of=int(training.get("epochs") or 0),
        seconds=math.fsum(row.get(_SECONDS) or 0.0 for row in trial.epochs),
        values=trial.values,
        on_front=on_front,
    )


def moved(trial: TrialState, layers: Sequence[str]) -> list[Moved]:
    """What moved in a trial, layer by layer in forward order."""
    return moved_in_rows(trial.epochs, layers)


def moved_in_rows(epochs: Sequence[Mapping[str, Any]], layers: Sequence[str]) -> list[Moved]:
    """The same of the metrics of its epochs."""
    rows = []
    for layer in layers:
        values = [row.get(f"select/{layer}") for row in epochs]
        known = [value for value in values if value is not None]
        if known:
            rows.append(Moved(layer, math.fsum(known) / len(known), tuple(values)))
    return rows


def moved_in_words(rows: Sequence[Moved], layers: Sequence[str]) -> str:
    """`stem`, `all 6 (stem 41 %)`; weights where one is above 1 or none was a share of steps."""
    means = {row.layer: row.share for row in rows}
    weighs = any(value is not None and value > 1 for row in rows for value in row.epochs)
    return weights_in_words(means, layers) if weighs else layers_in_words(means, layers)


def configuration(trial: TrialState) -> dict[str, str]:
    """A trial's values in words: what was searched first, then the rest."""
    training: Mapping[str, Any] = trial.config.get("training") or {}
    parameters: Mapping[str, Any] = trial.config.get("parameters") or {}
    how, addresses = trial.earlier
    rest = {k: v for k, v in {**parameters, **training}.items() if k not in trial.searched}
    facts = {
        "model": str(trial.config.get("model", "")),  # of several
        "searched": values_in_words(trial.searched),
        "fixed": values_in_words({k: v for k, v in rest.items() if v is not None}),
        "seed": str(trial.config.get("seed")),
        "earlier sweeps": f"{_EARLIER[how]} {', '.join(addresses)}" if how else "",
    }
    return {name: words for name, words in facts.items() if words}


def ending(trial: TrialState, view: SweepView) -> str:
    """Why a trial ended, in a sentence or two."""
    return note(trial, view.sweep)
