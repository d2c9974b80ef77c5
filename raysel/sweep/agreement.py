"""The study against the record: where they differ, and the study made anew from the events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as OptunaState

from raysel.space import Space
from raysel.spec import Spec, TrialConfig
from raysel.sweep import pruning
from raysel.sweep.search import open_study, tell_end, trial_id
from raysel.tracking.owner import Owner
from raysel.tracking.record import Event, Kind
from raysel.tracking.state import TrialState

STUDY_STATE = {
    "COMPLETE": OptunaState.COMPLETE,
    "PRUNED": OptunaState.PRUNED,
    "FAILED": OptunaState.FAIL,
    "RUNNING": OptunaState.RUNNING,
    "INTERRUPTED": OptunaState.RUNNING,
}
"""The record's states in the study's words (design.md §5)."""


def study_differences(
    study: optuna.Study, trials: Mapping[str, TrialState], metric: str
) -> list[str]:
    """Where the study says something else than the record, in sentences."""
    asked = [t for t in study.get_trials(deepcopy=False) if t.state != OptunaState.WAITING]
    known = {trial_id(t.number): t for t in asked}
    searched = {name: t for name, t in trials.items() if t.phase == "search"}
    lacking = [f"{name}: the study does not have it" for name in searched if name not in known]
    for name, frozen in known.items():
        if name in searched:
            lacking += _trial_differences(frozen, searched[name], metric)
        elif frozen.state != OptunaState.RUNNING:  # a driver died before it wrote that it began
            lacking.append(f"{name}: {frozen.state.name} in the study, unknown to the record")
    return lacking


def _trial_differences(frozen: FrozenTrial, trial: TrialState, metric: str) -> Iterator[str]:
    wanted = STUDY_STATE[trial.status]
    if frozen.state != wanted:
        yield f"{trial.id}: {frozen.state.name} in the study, {trial.status} in the record"
    values = {row["epoch"]: row.get(metric) for row in trial.epochs}
    finite = {int(e): v for e, v in values.items() if e is not None and v is not None}
    if frozen.intermediate_values != finite:
        epochs = sorted(set(finite.items()) ^ set(frozen.intermediate_values.items()))
        yield f"{trial.id}: {metric} of epoch {epochs[0][0]} is not the record's"
    if dict(frozen.params) != dict(trial.suggested):
        yield f"{trial.id}: its parameters are not the record's"
    if wanted == OptunaState.COMPLETE and frozen.value != trial.value:
        yield f"{trial.id}: {frozen.value} in the study, {trial.value} in the record"


def rebuild(
    spec: Spec, space: Space, url: str, events: Iterable[Event], owner: Owner | None = None
) -> optuna.Study:
    """Delete the study and make it anew: every event applied in its order."""
    study = open_study(spec, space, url, owner)
    optuna.delete_study(study_name=spec.name, storage=study._storage)
    study = open_study(spec, space, url, owner)
    study.sampler = RandomSampler(seed=0)  # every value is given: there is nothing to sample
    live: dict[str, tuple[Trial, TrialConfig]] = {}
    for event in events:
        if event.kind == Kind.STARTED and event.payload["phase"] == "search":
            live[event.trial] = _asked_again(study, space, event)
        elif event.trial in live:
            _apply(*live[event.trial], event, spec.objective.metric)
    return study


def _asked_again(study: optuna.Study, space: Space, event: Event) -> tuple[Trial, TrialConfig]:
    waiting = study.get_trials(deepcopy=False, states=(OptunaState.WAITING,))
    if not waiting:
        study.enqueue_trial(event.payload["suggested"])
    trial = study.ask()
    return trial, space.suggest(trial)


def _apply(trial: Trial, config: TrialConfig, event: Event, metric: str) -> None:
    if event.kind == Kind.EPOCH:
        value = event.payload["metrics"].get(metric)
        if value is not None:
            trial.report(value, event.epoch)
            if event.epoch < config.training.epochs:
                pruning.ask(trial).note()
    elif event.kind == Kind.ENDED:
        tell_end(trial, event.payload["status"], event.payload["value"])


def agreed(
    spec: Spec,
    space: Space,
    url: str,
    events: Sequence[Event],
    trials: Mapping[str, TrialState],
    owner: Owner | None = None,
) -> tuple[optuna.Study, list[str]]:
    """The study as the record has it, and what differed before it was made anew.

    A study that only lacks the last events is left to the ledger, which applies them.
    """
    study = open_study(spec, space, url, owner)
    found = study_differences(study, _as_of(study, trials), spec.objective.metric)
    return (rebuild(spec, space, url, events, owner), found) if found else (study, [])


def _as_of(study: optuna.Study, trials: Mapping[str, TrialState]) -> dict[str, TrialState]:
    """The record without what a driver that died may not have applied yet: the end and the
    last epoch of trials that are RUNNING in the study."""
    behind = {
        trial_id(t.number): t
        for t in study.get_trials(deepcopy=False)
        if t.state == OptunaState.RUNNING
    }
    return {
        name: replace(t, status="RUNNING", epochs=t.epochs[: len(behind[name].intermediate_values)])
        if name in behind
        else t
        for name, t in trials.items()
    }
