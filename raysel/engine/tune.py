"""Ray Tune as the engine that runs trials, and nothing more.

What to run next and when to stop it is decided by a `TrialSource` on the driver: the search has
one over the Optuna study, a round of the confirm phase one over a list. All of a sweep's phases,
the training of its source model included, are one run of Tune, so that workers start once.
"""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.result import DONE, HOSTNAME, NODE_IP, PID, TRAINING_ITERATION, TRIAL_ID
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from raysel.common import credentials
from raysel.engine.capacity import bundle
from raysel.engine.trial_source import (
    Assignment,
    Phase,
    SourceAssignment,
    StopRequest,
    TrialSource,
    WorkerEnvironmentError,
    WorkerEvents,
)
from raysel.record.failure_kind import FailureKind
from raysel.spec.sweep import ResourcesSpec, TrialConfig
from raysel.training.gpu_share import keep_to_share
from raysel.training.source_run import SourceContext, SourceMessage, SourceRun
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

Context = PhaseContext | SourceContext

MESSAGE = "message"
"""The key of a worker's message in Tune's result."""

MAX_WORKER_FAILURES = 3
"""How many workers a trial may lose without a new epoch in between; the next one fails it."""

START_SECONDS = 10.0
"""How long the first worker waits for the others to start."""

MIN_IDLE_SECONDS = 0.2
"""The shortest time between two messages of a worker that idles."""

MAX_IDLE_MESSAGES = 50
"""The most messages a second of all workers that idle."""


class _DriverOnly:
    """Left out of the pickles that Tune writes and raysel never reads: a trial source holds a
    database connection, and the record is the state.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> _DriverOnly:
        return self


@dataclass(frozen=True)
class _ContextRef:
    """A phase's context in the object store, as a value of a trial's configuration."""

    ref: ray.ObjectRef

    def __deepcopy__(self, memo: dict[int, Any]) -> _ContextRef:
        return self


class _PhaseSearcher(_DriverOnly, Searcher):
    """Takes the next trial from the source of the current phase; the next phase begins when the
    trials of the one before have ended.

    A worker that has no trial until then idles: Tune would end it, and its process would have to
    start and import torch anew. Workers also idle at first, until all have started: a trial that
    waits for a worker to start is given to the first one that is free, and Tune ends the other.

    Attributes:
        trials: Ray's id -> our id and the trial's source.
        lost: Ray's id -> how its worker was lost.
        workers: those that have sent a message.
    """

    def __init__(self, phases: Iterator[Phase], concurrent: int, stop: StopRequest) -> None:
        super().__init__(metric=TRAINING_ITERATION, mode="max")  # of Tune's own, in every result
        self._phases, self._concurrent, self._stop = phases, concurrent, stop
        self._phase: Phase | None = None
        self._exhausted = False  # all trials of the phase have begun
        self._context: tuple[Context, _ContextRef] | None = None
        self._in_progress: set[str] = set()
        self._idle: set[str] = set()
        self._starting = 0  # how many workers are to start before the first trial
        self._first_message = math.inf
        self.trials: dict[str, tuple[str, TrialSource[Any]]] = {}
        self.lost: dict[str, str] = {}
        self.workers: set[tuple[str, int]] = set()

    def heard_of(self, worker: tuple[str, int]) -> None:
        """A worker has sent a message."""
        self.workers.add(worker)
        self._first_message = min(self._first_message, time.monotonic())

    @property
    def waits(self) -> bool:
        """Whether idle workers are to wait: for others to start, or for running trials to end."""
        running = self._exhausted and self._in_progress
        return not self._stop.asked and bool(self._are_starting or running)

    @property
    def _are_starting(self) -> bool:
        """Whether a worker is to start yet before the first trial begins."""
        late = time.monotonic() - self._first_message > START_SECONDS
        return len(self.workers) < self._starting and not late

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        try:
            return self._suggest(trial_id)
        except Exception as error:  # Tune would go on without it
            self._stop.fail(error)
            return Searcher.FINISHED

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._phase is None:
            self._phase = next(self._phases, None)
            size = min(self._concurrent, self._phase.size) if self._phase else 0
            self._starting = size if size > 1 else 0
        while self._phase is not None and not self._stop.asked:
            if self._are_starting:
                return self._idling(trial_id, self._starting)
            assignment = self._phase.source.next_trial()
            self._exhausted = assignment is None
            if assignment is not None:
                return self._assigned(trial_id, self._phase, assignment)
            if self._phase.last:
                break
            if self._in_progress:
                following = min(self._concurrent, self._phase.next_size)
                return self._idling(trial_id, max(len(self.workers), following))
            self._phase = next(self._phases, None)
        return Searcher.FINISHED

    def _assigned(
        self, trial_id: str, phase: Phase, assignment: Assignment | SourceAssignment
    ) -> dict[str, Any]:
        self.trials[trial_id] = assignment.trial, phase.source
        self._in_progress.add(trial_id)
        return {**assignment.to_dict(), "context": self._reference(phase.context)}

    def _idling(self, trial_id: str, workers: int) -> dict[str, Any] | None:
        """None where more than so many workers would be kept."""
        if len(self._in_progress) + len(self._idle) >= workers:
            return None
        self._idle.add(trial_id)
        seconds = max(MIN_IDLE_SECONDS, self._concurrent / MAX_IDLE_MESSAGES)
        return {"trial": f"idle-{trial_id}", "idle_seconds": seconds}

    def _reference(self, context: Context) -> _ContextRef:
        """The context in the object store, where each is put once."""
        if self._context is None or self._context[0] is not context:
            self._context = context, _ContextRef(ray.put(context))
        return self._context[1]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The source knows of every end but this one: more than `MAX_WORKER_FAILURES` workers were
        lost without a new epoch."""
        self._in_progress.discard(trial_id)
        self._idle.discard(trial_id)
        if not error or trial_id not in self.trials:
            return
        trial, source = self.trials[trial_id]
        words = self.lost.get(trial_id, "no reason was given")
        try:
            source.failed(trial, FailureKind.WORKER_LOST, f"worker lost: {words}")
        except Exception as failure:
            self._stop.fail(failure)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""


class _TrialSourceScheduler(_DriverOnly, FIFOScheduler):
    """Reports results to the trial's source and stops a trial when the source says so."""

    def __init__(
        self, searcher: _PhaseSearcher, worker_events: WorkerEvents, stop: StopRequest
    ) -> None:
        super().__init__()
        self._searcher, self._stop = searcher, stop
        self._worker_events = worker_events
        self._last_epoch: dict[str, int] = {}  # Ray's id -> the last epoch that was new

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept any metric of Tune: the trial source decides on the objective."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        ends = True
        try:
            if not self._stop.error:  # what comes after is not written any more
                message: WorkerMessage | SourceMessage | None = result[MESSAGE]
                self._searcher.heard_of((result[HOSTNAME], result[PID]))
                waits = self._searcher.waits
                ends = not waits if message is None else self._report(trial, message)
        except Exception as error:  # Tune would hide it in one of its own
            self._stop.fail(error)
        return TrialScheduler.STOP if ends or self._stop.asked else TrialScheduler.CONTINUE

    def _reset_failures(self, trial: Any, epoch: int) -> None:
        """Reset the count of lost workers after a new epoch: on spot machines a long trial
        loses any number of them, and only one without progress is given up."""
        if epoch > self._last_epoch.get(trial.trial_id, 0):
            self._last_epoch[trial.trial_id] = epoch
            trial.run_metadata.num_failures = 0

    def _report(self, ray_trial: Any, message: WorkerMessage | SourceMessage) -> bool:
        """Report a message, its files before its epoch; return whether the trial ends."""
        if isinstance(message, EpochMessage):
            self._reset_failures(ray_trial, message.epoch)
        trial, source = self._searcher.trials[ray_trial.trial_id]
        if isinstance(message, SourceMessage):
            return source.epoch(trial, message)
        for name, content in message.files.items():
            self._worker_events.receive(trial, name, content)
        if isinstance(message, EnvironmentErrorMessage):
            raise WorkerEnvironmentError(f"{trial}: {message.cause}")
        if isinstance(message, FailureMessage):
            source.failed(trial, message.kind, message.cause)
            return True
        return source.epoch(trial, message)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The worker was lost; also called when Ray retries the trial on another worker."""
        error = trial.get_error() or trial.get_pickled_error()
        words = str(error).strip().splitlines() or ["no reason was given"]
        self._searcher.lost[trial.trial_id] = words[-1]
        assigned = self._searcher.trials.get(trial.trial_id)
        if assigned is not None and trial.should_recover() and not self._stop.asked:
            self._worker_events.worker_lost(assigned[0])


class _ImmediateStopper(_DriverOnly, Stopper):
    """Ends Tune's run when the user asked twice.

    It is also the one that Tune shows the result itself, when the scheduler's copy is made, and so
    the place to take out what Tune would keep: it holds every trial to the run's end, with its
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


def run_phases(
    phases: Iterator[Phase],
    resources: ResourcesSpec,
    concurrent: int,
    storage: Path,
    worker_events: WorkerEvents,
    stop: StopRequest,
) -> None:
    """Run the trials of all phases, one phase after the other, on the connected Ray cluster.

    Args:
        phases: asked for the next one when the trials of the one before have ended.
        concurrent: how many trials run at a time.
        storage: folder for Ray's own files.
        worker_events: receives the trials' files and the losses of workers.

    Raises:
        Exception: what a trial source or `phases` raised; the run was left at once.
    """
    searcher = _PhaseSearcher(phases, concurrent, stop)
    tune.Tuner(
        tune.with_resources(TrialTrainable, of_trial(resources)),
        tune_config=tune.TuneConfig(
            num_samples=-1,
            search_alg=searcher,
            scheduler=_TrialSourceScheduler(searcher, worker_events, stop),
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

    The configuration is an assignment as a dict and `"context": a _ContextRef`; a result is
    `{MESSAGE: a worker's message}`, or None for a worker that idles (`{"idle_seconds": seconds}`).
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial; nothing is built before the first step."""
        self._context: _ContextRef | None = None
        self._worker: TrialWorker | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._run: TrialRun | SourceRun | None = None
        self._idle_seconds = config.get("idle_seconds", 0.0)
        if "source_model" in config:
            context: SourceContext = ray.get(config["context"].ref)
            keep_to_share(context.gpus)
            self._run = SourceRun(context, config["source_model"])
        elif "context" in config:
            asked = TrialConfig.model_validate(config["config"])
            worker = self._worker_of(config["context"])
            self._run = TrialRun(worker, config["trial"], asked, config["reported_epochs"])

    def _worker_of(self, context: _ContextRef) -> TrialWorker:
        """The one that keeps what trials of this context share."""
        if self._worker is None or context != self._context:
            self._context = context
            shared: PhaseContext = ray.get(context.ref)
            keep_to_share(shared.gpus)
            self._worker = TrialWorker(shared)
        return self._worker

    def step(self) -> dict[str, Any]:
        """One epoch, a second of a source model's training, or a moment without a trial."""
        if self._run is None:
            time.sleep(self._idle_seconds)
            return {MESSAGE: None}
        return {MESSAGE: self._run.epoch()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial keeps its own checkpoint, by its own id."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: `TrialRun` finds the trial's own checkpoint."""

    def log_result(self, result: dict[str, Any]) -> None:
        """Nothing: the record is the log."""
