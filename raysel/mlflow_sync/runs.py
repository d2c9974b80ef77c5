"""MLflow's runs for a sweep and its trials: pure functions, no client.

A run is described completely, from the folded events, so that sending it twice changes
nothing; a point carries the time of its event, so that MLflow keeps it once.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from raysel.common.text import count_of
from raysel.record.events import SWEEP, Event, Kind
from raysel.record.state import (
    COMPLETE,
    FAILED,
    INTERRUPTED,
    PRUNED,
    RANGE,
    RANGE_SUGGESTED,
    RUNNING,
    TESTED_STEPS,
    SweepState,
    TrialState,
)

MLFLOW_STATUS = {
    RUNNING: "RUNNING",
    COMPLETE: "FINISHED",
    PRUNED: "FINISHED",  # MLflow has no such state; the tag has it
    FAILED: "FAILED",
    INTERRUPTED: "KILLED",
}
"""raysel's states in MLflow's words; the tag `raysel.status` keeps ours."""

SWEEP_ID = "raysel.sweep_id"
TRIAL_ID = "raysel.trial_id"
PARENT = "mlflow.parentRunId"

CARD = "best/README.md"
"""The model card, in a sweep's folder and among the files of its run."""

_KEY_CHARACTERS = 250
_VALUE_CHARACTERS = 6000
_TAG_CHARACTERS = 8000


@dataclass(frozen=True)
class RunImage:
    """A run as MLflow is to show it.

    Attributes:
        trial: the trial's id; `SWEEP` for the parent.
        name: the run's name.
        status: MLflow's word.
        started, ended: unix time, milliseconds; `ended` is None while it runs.
        tags, params: as MLflow keeps them, text.
    """

    trial: str
    name: str
    status: str
    started: int
    ended: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One value of a metric; `timestamp` in milliseconds."""

    key: str
    value: float
    timestamp: int
    step: int


def sweep_image(sweep: SweepState) -> RunImage:
    """The parent run of a sweep."""
    versions = sweep.manifest.get("versions") or {}
    tags = {
        SWEEP_ID: sweep.id,
        "raysel.status": sweep.status,
        "raysel.cause": sweep.cause or "",
        "raysel.verdict": sweep.verdict or "",
        "raysel.versions": " ".join(f"{name} {version}" for name, version in versions.items()),
        "raysel.report": str(Path(sweep.folder) / "report" / "index.html"),
        "raysel.model": sweep.model or "",  # where it lies: no bytes of weights go to MLflow
        "mlflow.note.content": sweep_note(sweep),
        **_source(sweep),
        **_suite(sweep),
    }
    return RunImage(
        trial=SWEEP,
        name=sweep.name,
        status=MLFLOW_STATUS[sweep.status],
        started=milliseconds(sweep.started_at or 0.0),
        ended=None if sweep.ended_at is None else milliseconds(sweep.ended_at),
        tags=_tags(tags),
    )


def trial_image(trial: TrialState, sweep: SweepState) -> RunImage:
    """The child run of a trial."""
    ended = trial.interrupted_at if trial.ended_at is None else trial.ended_at
    tags = {
        SWEEP_ID: sweep.id,
        TRIAL_ID: trial.id,
        "raysel.status": trial.status,
        "raysel.phase": trial.phase,
        "raysel.strategy": trial.strategy,
        "raysel.cause": trial.cause or "",
        "raysel.epochs": _epochs(trial),
        "mlflow.note.content": note(trial, sweep),
        **_source(sweep),
        **_suite(sweep),
    }
    registered = str(trial.config.get("strategy", trial.strategy))
    if registered != trial.strategy:  # of an arm with a name of its own
        tags["raysel.registered_strategy"] = registered
    if trial.notes:
        tags["raysel.notes"] = "; ".join(trial.notes)
    how, addresses = trial.earlier
    if addresses:
        tags["raysel.prior"] = f"{how}: {', '.join(addresses)}"
    if lost := _not_finite(trial):
        tags["raysel.non_finite_values"] = str(lost)
    return RunImage(
        trial=trial.id,
        name=run_name(trial)[:_KEY_CHARACTERS],
        status=MLFLOW_STATUS[trial.status],
        started=milliseconds(trial.started_at or 0.0),
        ended=None if ended is None else milliseconds(ended),
        tags=_tags(tags),
        params=parameters(trial.config),
    )


def run_name(trial: TrialState) -> str:
    """`07 bvg_ls lr=0.021 ema_decay=0.93`, or `confirm bvg_ls seed 1000`."""
    if trial.phase == "confirm":
        return f"confirm {trial.strategy} seed {trial.config.get('seed')}"
    if trial.phase == RANGE:
        return f"range test {trial.strategy}"
    return f"{trial.number:02d} {trial.label}"


def sweep_note(sweep: SweepState) -> str:
    """The parent's description, in Markdown: what the sweep is for, its verdict, and how well each
    strategy did in the confirm phase."""
    parts = [sweep.description]
    if sweep.verdict:
        parts.append(f"**Verdict.** {sweep.verdict}")
    if sweep.confirmed:
        head = "| strategy | test error | 95 % interval | runs |\n| --- | --- | --- | --- |"
        parts.append("\n".join([head, *map(_confirmed_row, sweep.confirmed)]))
    if sweep.model:
        parts.append(f"The model card is the artifact `{CARD}`.")
    return "\n\n".join(filter(None, parts))


def _confirmed_row(row: Mapping[str, Any]) -> str:
    mean, low, high = (row.get(key) for key in ("test_error", "low", "high"))
    between = "" if low is None or high is None else f"{low:.1%} to {high:.1%}"
    error = "" if mean is None else f"{mean:.1%}"
    return f"| {row['strategy']} | {error} | {between} | {row['runs']} |"


def note(trial: TrialState, sweep: SweepState) -> str:
    """What the run was, in a sentence or two."""
    after, found = _amount(trial), _found(trial, sweep)
    cause = f": {trial.cause}" if trial.cause else ""
    ending = {
        RUNNING: "Is running.",
        COMPLETE: f"Complete{after}{found}.",
        PRUNED: f"Stopped by the pruner{after}{found}.",
        FAILED: f"Failed{after}{cause}.",
        INTERRUPTED: f"Left{after}{cause}. `raysel resume {sweep.name}` takes it up.",
    }[trial.status]
    if trial.phase == "confirm":
        what = f"The best {trial.strategy} again, with seed {trial.config.get('seed')}"
    elif trial.phase == RANGE:
        what = f"The range test of {trial.strategy}, before the search {sweep.name}"
    else:
        what = f"Trial {trial.number} of the search {sweep.name}: {trial.label}"
    tested = trial.end_metrics.get("test/error")
    test = "" if tested is None else f" Test error {tested:.4g}."
    return f"{what}. {ending}{test}"


def _amount(trial: TrialState) -> str:
    """How long it ran, in epochs; of a range test in steps."""
    if trial.phase != RANGE:
        return f" after {count_of(len(trial.epochs), 'epoch')}"
    steps = trial.end_metrics.get(TESTED_STEPS)
    return "" if steps is None else f" after {count_of(int(steps), 'step')}"


def _found(trial: TrialState, sweep: SweepState) -> str:
    """The objective, of a range test its suggestion; a confirm run has none: its seed is not
    searched."""
    if trial.phase == RANGE:
        rate = trial.end_metrics.get(RANGE_SUGGESTED)
        return ", suggests none" if rate is None else f", suggests the learning rate {rate:.2g}"
    return "" if trial.value is None else f", {sweep.metric} {trial.value:.4g}"


def parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """A `TrialConfig` flat, as text: `strategy` (the arm's name), `seed`, `model` (in a sweep of
    several), `<arm>.<parameter>`, `training.<setting>`."""
    arm = config.get("arm", config.get("strategy", ""))
    flat = {"strategy": arm, "seed": config.get("seed")}
    if model := config.get("model"):  # one of several
        flat["model"] = model
    flat |= {f"{arm}.{name}": v for name, v in (config.get("parameters") or {}).items()}
    flat |= {f"training.{name}": v for name, v in (config.get("training") or {}).items()}
    return {_key(name): _text(value)[:_VALUE_CHARACTERS] for name, value in flat.items()}


def points(event: Event) -> list[Point]:
    """The metrics that an event brings; values that are not finite are left out.

    Of the metrics of an `ended` event only `test/*` and `range/*` are new: the others are those of
    an epoch.
    The sweep's end brings the means of the confirm phase, `confirmed/test_error/<strategy>`.
    """
    metrics: Mapping[str, Any] = event.payload.get("metrics") or {}
    if event.kind == Kind.FINISHED:
        metrics = {
            f"confirmed/{name}/{row['strategy']}": row.get(name)
            for row in event.payload.get("confirmed") or ()
            for name in ("test_error", "validation")
        }
    elif event.kind == Kind.ENDED:
        metrics = {n: v for n, v in metrics.items() if n.startswith(("test/", "range/"))}
    elif event.kind != Kind.EPOCH:
        return []
    at = milliseconds(event.at)
    return [
        Point(_key(name), float(value), at, event.epoch)
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    ]


def measured(
    events: Iterable[Event], trials: Mapping[str, TrialState], metric: str
) -> dict[str, list[Point]]:
    """The points that events bring, by trial (`SWEEP`: the sweep's own). With each epoch comes the
    lowest objective until then, so that runs can be sorted by it while they go on.

    Args:
        trials: with these events.
        metric: the objective.
    """
    found: dict[str, list[Point]] = {}
    lowest: dict[str, tuple[list[float], list[float]]] = {}
    for event in events:
        own = found.setdefault(event.trial, [])
        own += points(event)
        if event.kind == Kind.EPOCH:
            if event.trial not in lowest:
                lowest[event.trial] = _lowest(trials[event.trial].epochs, metric)
            epochs, values = lowest[event.trial]
            if until := bisect_right(epochs, event.epoch):
                at = milliseconds(event.at)
                own.append(Point(best_key(metric), values[until - 1], at, event.epoch))
    return found


def best_key(metric: str) -> str:
    """The metric of MLflow's runs that has the lowest objective: `best/val_error`."""
    return _key(f"best/{metric.replace('/', '_')}")


def _lowest(
    epochs: Sequence[Mapping[str, float | None]], metric: str
) -> tuple[list[float], list[float]]:
    """The epochs whose objective is finite, in their order, and the lowest until each."""
    known = sorted(
        (row["epoch"] or 0, value)
        for row in epochs
        if (value := row.get(metric)) is not None and math.isfinite(value)
    )
    return [epoch for epoch, _ in known], list(accumulate((value for _, value in known), min))


def milliseconds(seconds: float) -> int:
    """Unix time as MLflow counts it."""
    return round(seconds * 1000)


def _source(sweep: SweepState) -> dict[str, str]:
    return {
        "mlflow.source.name": sweep.manifest.get("command") or "raysel",
        "mlflow.source.git.commit": sweep.manifest.get("git_sha") or "",
    }


def _suite(sweep: SweepState) -> dict[str, str]:
    """Of a cell of a suite: which."""
    suite, _, cell = sweep.name.rpartition("/")
    return {"raysel.suite": suite, "raysel.cell": cell} if suite else {}


def _epochs(trial: TrialState) -> str:
    """How many epochs it has trained: `3 of 10`."""
    planned = (trial.config.get("training") or {}).get("epochs")
    done = len(trial.epochs)
    return str(done) if planned is None else f"{done} of {planned}"


def _not_finite(trial: TrialState) -> int:
    measured = [*trial.epochs, trial.end_metrics]
    return sum(value is None for metrics in measured for value in metrics.values())


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:_TAG_CHARACTERS] for name, value in tags.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    """The name with what MLflow refuses in one replaced."""
    return re.sub(r"[^\w./ :-]", "_", name)[:_KEY_CHARACTERS]
