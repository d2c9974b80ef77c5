"""Ray Tune as the engine that runs trials, and nothing more.

What to run next and when to stop it is decided by a `TrialSource` on the driver: the search has
one over the Optuna study, a round of the confirm phase one over a list. All of a sweep's phases,
the training of its source model included, are one run of Tune, so that workers start once; and so
are several sweeps, the cells of a suite.
"""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.result import DONE, HOSTNAME, NODE_IP, PID, TRAINING_ITERATION, TRIAL_ID
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.stopper import Stopper

from raysel.common import credentials
from raysel.engine.capacity import bundle
from raysel.engine.searcher import ContextRef, DriverOnly, Given, LaneSearcher
from raysel.engine.trial_source import (
    Lane,
    Phase,
    StopRequest,
    Wait,
    WorkerEnvironmentError,
    WorkerEvents,
)
from raysel.spec.sweep import ResourcesSpec
from raysel.spec.trial_config import TrialConfig
from raysel.training.gpu_share import keep_to_share
from raysel.training.range_run import RangeRun
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

MESSAGE = "message"
"""The key of a worker's message in Tune's result."""

MAX_WORKER_FAILURES = 3
"""How many workers a trial may lose without a new epoch in between; the next one fails it."""


class _TrialSourceScheduler(DriverOnly, FIFOScheduler):
    """Reports results to the trial's source and stops a trial when the source says so."""

    def __init__(self, searcher: LaneSearcher, stop: StopRequest) -> None:
        super().__init__()
        self._searcher, self._stop = searcher, stop
        self._last_epoch: dict[str, int] = {}  # Ray's id -> the last epoch that was new

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept any metric of Tune: the trial source decides on the objective."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        given = self._searcher.trials.get(trial.trial_id)
        stop = self._stop if given is None else given.lane.stop
        ends = True
        try:
            if not stop.error:  # what comes after is not written any more
                message: WorkerMessage | SourceMessage | None = result[MESSAGE]
                self._searcher.heard_of((result[HOSTNAME], result[PID]))
                waits = self._searcher.waits
                ends = not waits if given is None else self._report(trial, given, message)
        except Exception as error:  # Tune would hide it in one of its own
            stop.fail(error)
        return TrialScheduler.STOP if ends or stop.asked else TrialScheduler.CONTINUE

    def _reset_failures(self, trial: Any, epoch: int) -> None:
        """Reset the count of lost workers after a new epoch: on spot machines a long trial
        loses any number of them, and only one without progress is given up."""
        if epoch > self._last_epoch.get(trial.trial_id, 0):
            self._last_epoch[trial.trial_id] = epoch
            trial.run_metadata.num_failures = 0

    def _report(
        self, ray_trial: Any, given: Given, message: WorkerMessage | SourceMessage | None
    ) -> bool:
        """Report a message, its files before its epoch; return whether the trial ends."""
        assert message is not None
        if isinstance(message, EpochMessage):
            self._reset_failures(ray_trial, message.epoch)
        trial, source = given.trial, given.source
        if isinstance(message, SourceMessage):
            return source.epoch(trial, message)
        for name, content in message.files.items():
            given.lane.lane.events.receive(trial, name, content)
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
        given = self._searcher.trials.get(trial.trial_id)
        if given is not None and trial.should_recover() and not given.lane.stop.asked:
            given.lane.lane.events.worker_lost(given.trial)


class _ImmediateStopper(DriverOnly, Stopper):
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
    phases: Iterator[Phase | Wait],
    resources: ResourcesSpec,
    concurrent: int,
    storage: Path,
    worker_events: WorkerEvents,
    stop: StopRequest,
) -> None:
    """Run the trials of all phases of one sweep; see `run_lanes`.

    Args:
        phases: asked for the next one when the trials of the one before have ended.
        worker_events: receives the trials' files and the losses of workers.
    """
    run_lanes(iter([Lane(phases, worker_events, stop)]), resources, concurrent, storage, stop)


def run_lanes(
    lanes: Iterator[Lane],
    resources: ResourcesSpec,
    concurrent: int,
    storage: Path,
    stop: StopRequest,
) -> None:
    """Run the trials of all lanes on the connected Ray cluster, in one run of Tune.

    Args:
        lanes: asked for the next one when no open lane has a trial for a free worker.
        resources: of each trial.
        concurrent: how many trials run at a time.
        storage: folder for Ray's own files.
        stop: ends the run.

    Raises:
        Exception: what the driver failed of; the run was left at once. The error of a lane that has
            a request to stop of its own is there.
    """
    searcher = LaneSearcher(lanes, concurrent, stop)
    if searcher.prepare():
        try:
            _run(searcher, resources, concurrent, storage, stop)
        except Exception as error:
            stop.fail(error)
    searcher.end()
    if stop.error:
        raise stop.error


def _run(
    searcher: LaneSearcher,
    resources: ResourcesSpec,
    concurrent: int,
    storage: Path,
    stop: StopRequest,
) -> None:
    tune.Tuner(
        tune.with_resources(TrialTrainable, of_trial(resources)),
        tune_config=tune.TuneConfig(
            num_samples=-1,
            search_alg=searcher,
            scheduler=_TrialSourceScheduler(searcher, stop),
            max_concurrent_trials=concurrent,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.config["folder"]),
        ),
        run_config=tune.RunConfig(
            name=storage.name,
            storage_path=str(storage.parent),
            stop=_ImmediateStopper(stop),
            failure_config=tune.FailureConfig(max_failures=MAX_WORKER_FAILURES),
            verbose=0,
        ),
    ).fit()


class TrialTrainable(tune.Trainable):
    """Runs trials, and range tests before them, one after another in one process.

    The configuration is an assignment as a dict and `"context": a ContextRef`; a result is
    `{MESSAGE: a worker's message}`, or None for a worker that idles (`{"idle_seconds": seconds}`).
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial; nothing is built before the first step."""
        self._context: ContextRef | None = None
        self._worker: TrialWorker | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._run: TrialRun | RangeRun | SourceRun | None = None
        self._idle_seconds = config.get("idle_seconds", 0.0)
        if "source_model" in config:
            context: SourceContext = ray.get(config["context"].ref)
            keep_to_share(context.gpus)
            self._run = SourceRun(context, config["source_model"])
        elif "context" in config:
            asked = TrialConfig.model_validate(config["config"])
            worker = self._worker_of(config["context"])
            if "range_steps" in config:
                self._run = RangeRun(worker, asked, config["range_steps"])
            else:
                self._run = TrialRun(worker, config["trial"], asked, config["reported_epochs"])

    def _worker_of(self, context: ContextRef) -> TrialWorker:
        """The one that keeps what trials of this context share."""
        if self._worker is None or context != self._context:
            self._context = context
            shared: PhaseContext = ray.get(context.ref)
            keep_to_share(shared.gpus)
            self._worker = TrialWorker(shared)
        return self._worker

    def step(self) -> dict[str, Any]:
        """One epoch, a range test, a second of a source model's training, or a moment of none."""
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
