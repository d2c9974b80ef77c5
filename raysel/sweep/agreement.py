"""The study against the record: where they differ, and the study made anew from the events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import optuna
import sqlalchemy as sa
from optuna.samplers import RandomSampler
from optuna.storages._rdb import models
from optuna.trial import FixedTrial, FrozenTrial, Trial
from optuna.trial import TrialState as OptunaState

from raysel.errors import Trouble
from raysel.space import Space
from raysel.spec import Spec, TrialConfig
from raysel.sweep import pruning
from raysel.sweep.search import direction, open_study, tell_end, trial_id
from raysel.tracking.database import connect_to, told
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
    study: optuna.Study, trials: Mapping[str, TrialState], metric: str, space: Space | None = None
) -> list[str]:
    """Where the study says something else than the record, in sentences.

    Args:
        space: compares what each parameter was drawn from too.
    """
    asked = [t for t in study.get_trials(deepcopy=False) if t.state != OptunaState.WAITING]
    known = {trial_id(t.number): t for t in asked}
    searched = {name: t for name, t in trials.items() if t.phase == "search"}
    lacking = [f"{name}: the study does not have it" for name in searched if name not in known]
    for name, frozen in known.items():
        if name in searched:
            differing = [*_trial_differences(frozen, searched[name], metric)]
            lacking += differing
            if not differing and space is not None and not _fits(frozen, searched[name], space):
                lacking.append(
                    f"{name}: what it was drawn from, or its rungs, are not the record's"
                )
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


def _fits(frozen: FrozenTrial, trial: TrialState, space: Space) -> bool:
    """Whether distributions and rungs are those that the trial's events make."""
    same = FixedTrial(dict(trial.suggested))
    space.suggest(same)
    rungs = {v for name, v in frozen.system_attrs.items() if name.startswith("completed_rung_")}
    return frozen.distributions == same.distributions and rungs <= {
        *frozen.intermediate_values.values()
    }


def rebuild(
    spec: Spec, space: Space, url: str, events: Iterable[Event], owner: Owner | None = None
) -> optuna.Study:
    """Delete the study and make it anew: every event applied in its order."""
    _drop_tables(url, owner)
    study = open_study(spec, space, url, owner)
    study.sampler = RandomSampler(seed=0)  # every value is given: there is nothing to sample
    live: dict[str, tuple[Trial, TrialConfig]] = {}
    for event in events:
        if event.kind == Kind.STARTED and event.payload["phase"] == "search":
            live[event.trial] = _asked_again(study, space, event)
        elif event.trial in live:
            _apply(*live[event.trial], event, spec.objective.metric)
    return study


def _drop_tables(url: str, owner: Owner | None) -> None:
    """Optuna's, with whatever is damaged in them; the sweep's database holds no other study."""
    engine = connect_to(url)
    if owner is not None:
        owner.guard(engine)
    with told(url), engine.begin() as connection:
        models.BaseModel.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()


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
    study, found = compared(
        spec, space, url, lambda: open_study(spec, space, url, owner), lambda s: _as_of(s, trials)
    )
    if study is None or found:
        study = rebuild(spec, space, url, events, owner)
    return study, found


def compared(
    spec: Spec,
    space: Space,
    url: str,
    opened: Callable[[], optuna.Study | None],
    wanted: Callable[[optuna.Study], Mapping[str, TrialState]],
) -> tuple[optuna.Study | None, list[str]]:
    """The study and where it differs; None where there is none that can be read.

    Args:
        opened: gives the study.
        wanted: what it should say.

    Raises:
        Trouble: the database does not answer.
    """
    try:
        with told(url):
            study = opened()
            if study is None:
                return None, ["the study is not there"]
            found = study_differences(study, wanted(study), spec.objective.metric, space)
            if study.direction != direction(spec):
                found.append(f"the study: {study.direction.name} in Optuna's tables")
            return study, found
    except Trouble:
        raise
    except Exception as error:  # Optuna raises whatever it stumbles over
        words = " ".join(str(error).split())
        return None, [f"the study: cannot be read ({type(error).__name__}: {words[:200]})"]


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
