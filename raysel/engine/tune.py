"""Ray Tune as the engine that runs trials, and nothing more.

What to run next and when to stop it is decided by a `TrialSource` on the
driver: the search has one over the Optuna study, the confirm phase one over a list.
"""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.result import DONE, HOSTNAME, NODE_IP, PID, TRAINING_ITERATION, TRIAL_ID
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from raysel.common import credentials
from raysel.engine.capacity import bundle
from raysel.record.failure_kind import FailureKind
from raysel.spec.sweep import ResourcesSpec, TrialConfig
from raysel.training.gpu_share import keep_to_share
from raysel.training.trial import TrialRun
from raysel.training.trial_worker import PhaseContext, TrialWorker
from raysel.training.worker_messages import (
    EnvironmentErrorMessage,
    EpochMessage,
    FailureMessage,
    WorkerMessage,
)

# Tune would put the driver's keys into the arguments of every worker, and Ray into its logs.
class_cache.ENV_VARS_TO_PROPAGATE.difference_update(credentials.NAMES, ["AWS_SECURITY_TOKEN"])

MESSAGE = "message"
"""The key of a worker's message in Tune's result."""

MAX_WORKER_FAILURES = 3
"""How many workers a trial may lose without a new epoch in between; the next one fails it."""


@dataclass(frozen=True)
class Assignment:
    """A trial to run: its id in the record, its configuration, and how many of its epochs the
    record has."""

    trial: str
    config: TrialConfig
    reported_epochs: int = 0


class TrialSource(Protocol):
    """Decides which trials run; every call is written to the event log before it returns."""

    def next_trial(self) -> Assignment | None:
        """The next trial to run, None when there is none left."""
        ...

    def epoch(self, trial: str, message: EpochMessage) -> bool:
        """Record an epoch; return whether the trial is to stop."""
        ...

    def failed(self, trial: str, kind: FailureKind, cause: str) -> None:
        """The trial failed for good."""
        ...


class WorkerEnvironmentError(Exception):
    """Raised when a worker's environment (such as a full disk) makes the whole sweep impossible."""


class WorkerEvents(Protocol):
    """Receives worker events that do not affect scheduling."""

    def receive(self, trial: str, name: str, content: bytes) -> None:
        """Keep a file of a trial that ran where the driver does not see its folder."""
        ...

    def worker_lost(self, trial: str) -> None:
        """The trial's worker or node was lost; the trial goes on elsewhere."""
        ...


class StopRequest:
    """A request to stop the engine: asked once, in order; asked twice, at once.

    Attributes:
        cause: why, in words; the first one that was given.
        error: a failure of the driver itself; nothing more is written after it.
    """

    def __init__(self) -> None:
        self._orderly = threading.Event()
        self._at_once = threading.Event()
        self.cause = ""
        self.error: Exception | None = None

    def ask(self, cause: str) -> None:
        """Running trials end their epoch; asked again, nothing is waited for."""
        self.cause = self.cause or cause
        (self._at_once if self._orderly.is_set() else self._orderly).set()

    def fail(self, error: Exception) -> None:
        """Stop at once: the event log cannot be written."""
        self.error = self.error or error
        self.cause = self.cause or str(error)
        self._orderly.set()
        self._at_once.set()

    @property
    def asked(self) -> bool:
        """Whether no more trial and no more epoch is to begin."""
        return self._orderly.is_set()

    @property
    def at_once(self) -> bool:
        """Whether running epochs are given up too."""
        return self._at_once.is_set()


class _DriverOnly:
    """Left out of the pickles that Tune writes and raysel never reads: a trial source holds a
    database connection, and the record is the state.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> _DriverOnly:
        return self


class _TrialSourceSearcher(_DriverOnly, Searcher):
    """Takes the next trial from the trial source."""

    def __init__(self, source: TrialSource, stop: StopRequest) -> None:
        super().__init__(metric=TRAINING_ITERATION, mode="max")  # of Tune's own, in every result
        self._source, self._stop = source, stop
        self.trials: dict[str, str] = {}  # Ray's id -> ours
        self.lost: dict[str, str] = {}  # Ray's id -> how its worker was lost

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        assignment = None
        try:
            assignment = None if self._stop.asked else self._source.next_trial()
        except Exception as error:  # Tune would go on without it
            self._stop.fail(error)
        if assignment is None:
            return Searcher.FINISHED
        self.trials[trial_id] = assignment.trial
        config = assignment.config.model_dump(mode="json")
        return {
            "trial": assignment.trial,
            "config": config,
            "reported_epochs": assignment.reported_epochs,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The source knows of every end but this one: more than `MAX_WORKER_FAILURES` workers were
        lost without a new epoch."""
        if not error:
            return
        words = self.lost.get(trial_id, "no reason was given")
        try:
            cause = f"worker lost: {words}"
            self._source.failed(self.trials[trial_id], FailureKind.WORKER_LOST, cause)
        except Exception as failure:
            self._stop.fail(failure)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""


class _TrialSourceScheduler(_DriverOnly, FIFOScheduler):
    """Reports results to the trial source and stops a trial when the source says so."""

    def __init__(
        self,
        source: TrialSource,
        searcher: _TrialSourceSearcher,
        worker_events: WorkerEvents,
        stop: StopRequest,
    ) -> None:
        super().__init__()
        self._source, self._searcher, self._stop = source, searcher, stop
        self._worker_events = worker_events
        self._last_epoch: dict[str, int] = {}  # Ray's id -> the last epoch that was new

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept any metric of Tune: the trial source decides on the objective."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        ends = True
        try:
            if not self._stop.error:  # what comes after is not written any more
                message: WorkerMessage = result[MESSAGE]
                if isinstance(message, EpochMessage):
                    self._reset_failures(trial, message.epoch)
                ends = self._report(self._searcher.trials[trial.trial_id], message)
        except Exception as error:  # Tune would hide it in one of its own
            self._stop.fail(error)
        return TrialScheduler.STOP if ends or self._stop.asked else TrialScheduler.CONTINUE

    def _reset_failures(self, trial: Any, epoch: int) -> None:
        """Reset the count of lost workers after a new epoch: on spot machines a long trial
        loses any number of them, and only one without progress is given up."""
        if epoch > self._last_epoch.get(trial.trial_id, 0):
            self._last_epoch[trial.trial_id] = epoch
            trial.run_metadata.num_failures = 0

    def _report(self, trial: str, message: WorkerMessage) -> bool:
        """Report a message, its files before its epoch; return whether the trial ends."""
        for name, content in message.files.items():
            self._worker_events.receive(trial, name, content)
        if isinstance(message, EnvironmentErrorMessage):
            raise WorkerEnvironmentError(f"{trial}: {message.cause}")
        if isinstance(message, FailureMessage):
            self._source.failed(trial, message.kind, message.cause)
            return True
        return self._source.epoch(trial, message)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The worker was lost; also called when Ray retries the trial on another worker."""
        error = trial.get_error() or trial.get_pickled_error()
        words = str(error).strip().splitlines() or ["no reason was given"]
        self._searcher.lost[trial.trial_id] = words[-1]
        if trial.should_recover() and not self._stop.asked:
            self._worker_events.worker_lost(self._searcher.trials[trial.trial_id])


class _ImmediateStopper(_DriverOnly, Stopper):
    """Ends the phase when the user asked twice.

    It is also the one that Tune shows the result itself, when the scheduler's copy is made, and so
    the place to take out what Tune would keep: it holds every trial to the phase's end, with its
    last result, files and all, and for each number two windows of its last values. (A callback
    could do it too, but to have one makes Tune import MLflow.)
    """

    _KEPT = frozenset({TRIAL_ID, DONE, TRAINING_ITERATION, NODE_IP, PID, HOSTNAME})

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        for name in result.keys() - self._KEPT:
            del result[name]
        return False

    def stop_all(self) -> bool:
        return self._stop.at_once


def of_trial(resources: ResourcesSpec) -> tune.PlacementGroupFactory:
    """The resources that Tune reserves for each trial."""
    labels = {"bundle_label_selector": [dict(resources.labels)]} if resources.labels else {}
    return tune.PlacementGroupFactory([bundle(resources)], **labels)


def run_phase(
    source: TrialSource,
    shared: PhaseContext,
    resources: ResourcesSpec,
    concurrent: int,
    storage: Path,
    worker_events: WorkerEvents,
    stop: StopRequest,
) -> None:
    """Run the trial source's trials on the connected Ray cluster until it has no more.

    Args:
        concurrent: how many trials run at a time.
        storage: folder for Ray's own files.
        worker_events: receives the trials' files and the losses of workers.

    Raises:
        Exception: what the trial source raised; the phase was left at once.
    """
    searcher = _TrialSourceSearcher(source, stop)
    runner = tune.with_parameters(TrialTrainable, shared=ray.put(shared))
    tune.Tuner(
        tune.with_resources(runner, of_trial(resources)),
        tune_config=tune.TuneConfig(
            num_samples=-1,
            search_alg=searcher,
            scheduler=_TrialSourceScheduler(source, searcher, worker_events, stop),
            max_concurrent_trials=concurrent,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.config["trial"]),
        ),
        run_config=tune.RunConfig(
            name=storage.name,
            storage_path=str(storage.parent),
            stop=_ImmediateStopper(stop),
            failure_config=tune.FailureConfig(max_failures=MAX_WORKER_FAILURES),
            verbose=0,
        ),
    ).fit()
    if stop.error:
        raise stop.error


class TrialTrainable(tune.Trainable):
    """Runs trials one after another in one process.

    The configuration is `{"trial": id, "config": TrialConfig as a dict, "reported_epochs": number
    of epochs in the record}`; a result is `{MESSAGE: a worker's message}`.
    """

    def setup(self, config: dict[str, Any], shared: PhaseContext) -> None:
        """Remember what is shared; nothing is built before the first step."""
        keep_to_share(shared.gpus)
        self._worker = TrialWorker(shared)
        self._run = self._begun(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial in the same process."""
        self._run = self._begun(new_config)
        return True

    def _begun(self, config: dict[str, Any]) -> TrialRun:
        asked = TrialConfig.model_validate(config["config"])
        return TrialRun(self._worker, config["trial"], asked, config["reported_epochs"])

    def step(self) -> dict[str, Any]:
        """One epoch."""
        return {MESSAGE: self._run.epoch()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial keeps its own checkpoint, by its own id."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: `TrialRun` finds the trial's own checkpoint."""

    def log_result(self, result: dict[str, Any]) -> None:
        """Nothing: the record is the log."""
