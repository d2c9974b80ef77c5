"""The search's Optuna study: an in-memory view of the events.

The events are authoritative. At a driver's start the study is rebuilt from them; from then on each
event is applied as it is committed. What samplers and pruners note in a trial is in its events
too, so a rebuild asks neither, and a suggestion is a function of the events alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, create_trial
from optuna.trial import TrialState as OptunaState

from raysel.common.errors import OperationalError
from raysel.record.state import (
    COMPLETE,
    FAILED,
    INTERRUPTED,
    NOTED,
    POINT,
    PRUNED,
    RUNNING,
    TrialState,
)
from raysel.search.prior import Prior
from raysel.search.samplers import pruner
from raysel.search.space import Space
from raysel.search.warm_start import in_study
from raysel.spec.sweep import Spec

OPTUNA_STATE = {
    COMPLETE: OptunaState.COMPLETE,
    PRUNED: OptunaState.PRUNED,
    FAILED: OptunaState.FAIL,
    RUNNING: OptunaState.RUNNING,
    INTERRUPTED: OptunaState.RUNNING,
}
"""The record's states as Optuna's trial states."""


def trial_id(number: int) -> str:
    """The record's name of Optuna's trial `number`."""
    return f"{number:04d}"


def study_of(
    spec: Spec, space: Space, trials: Iterable[TrialState], prior: Prior | None = None
) -> Study:
    """The study of a sweep as the record has it.

    Args:
        trials: the trials of the search; none for a new sweep.
        prior: what earlier sweeps know; their configurations come after the published ones.

    Raises:
        OperationalError: a trial is missing among them.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=spec.name,  # Hyperband's brackets depend on it
        pruner=pruner(spec.pruner, space.max_epochs),
        directions=["minimize"] * len(spec.objective.metrics),
    )
    name_metrics(study, spec.objective.metrics)
    known = sorted(trials, key=lambda trial: trial.number)
    for number, trial in enumerate(known):
        if trial.number != number:
            raise OperationalError(spec.name, f"trial {trial_id(number)} is missing in its record")
        study.add_trial(frozen_trial(trial, spec.objective.metrics))
    waiting = [*map(_waiting, space.first_trials()), *_points(space, prior)]
    for next_trial in waiting[len(known) :]:
        study.add_trial(next_trial)
    return study


def _waiting(parameters: Mapping[str, Any], **attributes: Any) -> FrozenTrial:
    """As `Study.enqueue_trial` makes one, which cannot set attributes of ours."""
    fixed = {"fixed_params": dict(parameters)}
    return create_trial(state=OptunaState.WAITING, system_attrs=fixed | attributes)


def _points(space: Space, prior: Prior | None) -> Iterator[FrozenTrial]:
    for point in prior.points if prior is not None else ():
        note = {NOTED: {"as": POINT, "sweeps": [point.address]}}
        yield _waiting(in_study(space, point.arm, point.values), **note)


def name_metrics(study: Study, metrics: Sequence[str]) -> None:
    """Dashboards show the objectives under their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(metrics))


def frozen_trial(trial: TrialState, metrics: Sequence[str]) -> FrozenTrial:
    """A trial of the record as Optuna keeps it; a pruned one's value is its last. With several
    objectives Optuna knows neither values of epochs nor those of pruned trials."""
    values = reported(trial, metrics[0]) if len(metrics) == 1 else {}
    ended: dict[str, Sequence[float] | None] = {
        COMPLETE: values_of(trial, metrics),
        PRUNED: [values[max(values)]] if values else None,
    }
    return create_trial(
        state=OPTUNA_STATE[trial.status],
        values=ended.get(trial.status),
        params=dict(trial.suggested),
        distributions={n: json_to_distribution(text) for n, text in trial.distributions.items()},
        intermediate_values=values,
        system_attrs=dict(trial.attributes),
    )


def values_of(trial: TrialState, metrics: Sequence[str]) -> list[float] | None:
    """A trial's objectives at its end, in the order of `metrics`; None where it has none."""
    if len(metrics) > 1:
        return [trial.values[metric] for metric in metrics] if trial.values else None
    return None if trial.value is None else [trial.value]


def reported(trial: TrialState, metric: str) -> dict[int, float]:
    """The objective after each epoch, where it was finite."""
    values = {row["epoch"]: row.get(metric) for row in trial.epochs}
    return {int(e): v for e, v in values.items() if e is not None and v is not None}


def live_trial(study: Study, number: int) -> Trial:
    """The study's trial `number`, to report to."""
    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def tell_end(trial: Trial, status: str, values: Sequence[float] | None) -> None:
    """Tell the trial's study how it ended (`COMPLETE`, `PRUNED`, `FAILED`); a pruned trial's value
    in the study is its last one, which Optuna takes itself."""
    state = OPTUNA_STATE[status]
    trial.study.tell(trial, values if state == OptunaState.COMPLETE else None, state=state)


def attributes_of(study: Study, number: int) -> Mapping[str, Any]:
    """System attributes that samplers and pruners have set on a trial."""
    return study.get_trials(deepcopy=False)[number].system_attrs


def facts_of(trial: Trial) -> dict[str, Any]:
    """What a rebuild needs of a trial that was just suggested, under the names of `TrialState`."""
    return {
        "suggested": trial.params,
        "distributions": {n: distribution_to_json(d) for n, d in trial.distributions.items()},
        "attributes": dict(attributes_of(trial.study, trial.number)),
    }
