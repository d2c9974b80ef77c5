"""Whether raysel's record, the Optuna study and MLflow tell the same of how all has ended."""

from __future__ import annotations

from pathlib import Path

import mlflow
from optuna.trial import TrialState as OptunaState

from raysel.record.state import TrialState
from raysel.spec.sweep import Spec

from .helpers import states, study_of

# the table of the design, word for word: raysel's state, Optuna's, MLflow's
TABLE = {
    "COMPLETE": (OptunaState.COMPLETE, "FINISHED"),
    "PRUNED": (OptunaState.PRUNED, "FINISHED"),
    "FAILED": (OptunaState.FAIL, "FAILED"),
    "INTERRUPTED": (OptunaState.RUNNING, "KILLED"),
}


def check(spec: Spec, sweep_status: str, cause: str | None) -> dict[str, TrialState]:
    """The three records tell the same of the sweep and of every trial; the trials."""
    folder = Path(spec.storage) / spec.name
    trials = states(folder)
    for trial in study_of(folder, spec.name).get_trials(deepcopy=False) if trials else ():
        if trial.state != OptunaState.WAITING:
            reported = trials[f"{trial.number:04d}"]
            assert trial.state == TABLE[reported.status][0], reported
    client = mlflow.MlflowClient(f"sqlite:///{spec.storage}/mlflow.db")
    experiment = client.get_experiment_by_name(spec.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    by_trial = {run.data.tags.get("raysel.trial_id", ""): run for run in runs}
    assert len(by_trial) == len(runs) and set(by_trial) == {"", *trials}
    for name, state in trials.items():
        run = by_trial[name]
        assert run.info.status == TABLE[state.status][1]
        assert run.data.tags["raysel.status"] == state.status
        assert run.data.tags.get("raysel.cause", "") == (state.cause or "")
        assert state.status in ("COMPLETE",) or state.cause
    parent = by_trial[""]
    assert parent.data.tags["raysel.status"] == sweep_status
    assert parent.data.tags.get("raysel.cause", "") == (cause or "")
    assert parent.info.status == {"COMPLETE": "FINISHED", "INTERRUPTED": "KILLED"}[sweep_status]
    return trials


def statuses(trials: dict[str, TrialState]) -> list[str]:
    return [trial.status for trial in trials.values()]
