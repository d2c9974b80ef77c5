"""MLflow compared with the record, written apart from the code that exports it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from raysel.record.events import Event
from raysel.record.state import SweepState, TrialState, fold, fold_sweep

STATES = {
    "COMPLETE": "FINISHED",
    "PRUNED": "FINISHED",
    "FAILED": "FAILED",
    "RUNNING": "RUNNING",
    "INTERRUPTED": "KILLED",
}


def mlflow_differences(uri: str, experiment: str, events: Sequence[Event]) -> list[str]:
    """Where MLflow says something else than the record, in sentences."""
    client, sweep, trials = MlflowClient(uri), fold_sweep(events), fold(events)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return ["the experiment is not there"]
    query = f"tags.`raysel.sweep_id` = '{sweep.id}'"
    runs: dict[str, Run] = {}
    for run in client.search_runs([found.experiment_id], query, max_results=5000):
        name = run.data.tags.get("raysel.trial_id", "")
        if name in runs:
            return [f"{name}: more than one run"]
        runs[name] = run
    if unlike := runs.keys() ^ {"", *trials}:
        return [f"{name}: only in one of them" for name in unlike]
    differences = list(_sweep_differences(runs[""], sweep))
    for name, trial in trials.items():
        own = [event for event in events if event.trial == name]
        parent = runs[""].info.run_id
        differences += _trial_differences(client, runs[name], trial, own, parent, sweep.metric)
    return differences


def _sweep_differences(run: Run, sweep: SweepState) -> Iterator[str]:
    if run.info.status != STATES[sweep.status]:
        yield f"the sweep: {run.info.status} in MLflow, {sweep.status} in the record"
    if run.data.tags.get("raysel.status") != sweep.status:
        yield "the sweep: its tag raysel.status is not the record's"


def _trial_differences(
    client: MlflowClient,
    run: Run,
    trial: TrialState,
    events: Sequence[Event],
    parent: str,
    objective: str,
) -> Iterator[str]:
    if run.info.status != STATES[trial.status]:
        yield f"{trial.id}: {run.info.status} in MLflow, {trial.status} in the record"
    wanted = {
        "mlflow.parentRunId": parent,
        "raysel.status": trial.status,
        "raysel.phase": trial.phase,
        "raysel.strategy": trial.strategy,
        "raysel.cause": trial.cause or "",
    }
    for name, value in wanted.items():
        if run.data.tags.get(name, "") != value:
            yield f"{trial.id}: its tag {name} is not the record's"
    given: Mapping[str, Any] = trial.config["training"] | {"seed": trial.config["seed"]}
    for name in ("seed", "epochs", "batch_size", "learning_rate"):
        param = run.data.params.get(name if name == "seed" else f"training.{name}", "nan")
        if float(param) != float(given[name]):
            yield f"{trial.id}: its parameter {name} is not the record's"
    has = Counter(
        (key, point.step, point.value, point.timestamp)
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    )
    if has != _points(events, objective):
        yield f"{trial.id}: its metrics are not the record's"


def _points(events: Sequence[Event], objective: str) -> Counter[tuple[str, int, float, int]]:
    """Every metric once: those of the epochs, and at the end what the test examples gave. With
    each epoch the lowest objective until then."""
    points: Counter[tuple[str, int, float, int]] = Counter()
    best, best_name = math.inf, "best/" + objective.replace("/", "_")
    for event in sorted(events, key=lambda event: event.epoch):
        value = (event.payload.get("metrics") or {}).get(objective)
        if event.kind == "epoch":
            best = best if value is None else min(best, value)
            if math.isfinite(best):
                points[best_name, event.epoch, best, round(event.at * 1000)] += 1
        metrics = event.payload.get("metrics") or {}
        for name, value in metrics.items():
            new = event.kind == "epoch" or (event.kind == "ended" and name.startswith("test/"))
            if new and value is not None and math.isfinite(value):
                key = re.sub(r"[^\w./ :-]", "_", name)
                points[key, event.epoch, value, round(event.at * 1000)] += 1
    return points
