"""Optuna's study compared with the record, written apart from the code that exports it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from raysel.record.state import TrialState

STATES = {
    "COMPLETE": OptunaState.COMPLETE,
    "PRUNED": OptunaState.PRUNED,
    "FAILED": OptunaState.FAIL,
    "RUNNING": OptunaState.RUNNING,
    "INTERRUPTED": OptunaState.RUNNING,
}


def study_differences(
    study: optuna.Study, trials: Mapping[str, TrialState], metric: str
) -> list[str]:
    """Where the study says something else than the record, in sentences."""
    known = {f"{t.number:04d}": t for t in study.get_trials(deepcopy=False)}
    searched = {name: t for name, t in trials.items() if t.phase == "search"}
    found = [f"{name}: only in one of them" for name in known.keys() ^ searched.keys()]
    for name in known.keys() & searched.keys():
        found += _trial_differences(known[name], searched[name], metric)
    return found


def _trial_differences(frozen: FrozenTrial, trial: TrialState, metric: str) -> Iterator[str]:
    if frozen.state != STATES[trial.status]:
        yield f"{trial.id}: {frozen.state.name} in the study, {trial.status} in the record"
    values = {row["epoch"]: row.get(metric) for row in trial.epochs}
    if frozen.intermediate_values != {e: v for e, v in values.items() if v is not None}:
        yield f"{trial.id}: {frozen.intermediate_values} in the study, {values} in the record"
    if dict(frozen.params) != dict(trial.suggested):
        yield f"{trial.id}: its parameters are not the record's"
    if trial.status == "COMPLETE" and frozen.value != trial.value:
        yield f"{trial.id}: {frozen.value} in the study, {trial.value} in the record"
