"""The two sides of the search-phase benchmark; each is run in a process of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import ray
from processor import ProcessorClock
from work import CONCURRENT, Outcome, Work


def start_ray() -> None:
    """A Ray of this machine, with its first workers up."""
    ray.init(num_cpus=CONCURRENT, include_dashboard=False, log_to_driver=False)
    ray.get([_awake.remote() for _ in range(CONCURRENT)])


@ray.remote(num_cpus=1)
def _awake() -> None:
    time.sleep(2)  # so long that no worker does it for another


def run_raysel(work: Work, tracking_uri: str) -> Outcome:
    """`raysel run`'s search phase, with everything that goes on beside it."""
    from raysel.engine import connect  # first: it sets what Ray reads when it is imported
    from raysel.engine.trial_source import Phase, StopRequest, WorkerEvents
    from raysel.engine.tune import run_phases
    from raysel.mlflow_sync.process import WriterProcess
    from raysel.record.event_log import EventLog
    from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url
    from raysel.record.layout import SweepFolder
    from raysel.record.state import fold
    from raysel.sweep.search_controller import SearchController
    from raysel.training import checkpoint
    from raysel.training.trial_worker import PhaseContext

    assert connect
    spec, folder = work.spec, SweepFolder.of(work.spec.storage, work.spec.name)
    folder.path.mkdir(parents=True)
    url = sqlite_url(folder.record)

    def observe(event: Event) -> None:
        if event.kind == Kind.ENDED:
            checkpoint.InFolder(folder.trial(event.trial)).remove()

    event_log = EventLog(Record(url), 1, observe)
    sweep = {"name": spec.name, "sweep_id": "benchmark", "spec": spec.to_yaml()}
    sweep |= {"layers": list(work.partition.names), "folder": str(folder.path)}
    sweep |= {"objective": spec.objective.model_dump()}
    event_log.write(SWEEP, Kind.SWEEP, 0, sweep)
    shared = PhaseContext(
        model_config=work.model_config,
        partition=work.partition,
        weights={name: tensor.numpy() for name, tensor in work.weights.items()},
        train=work.task.train,
        validation=work.task.validation,
        source=None,
        test=None,
        mean=work.task.mean,
        std=work.task.std,
        objective=spec.objective,
        keep_best=False,
        trace_every=spec.trace.every_n_steps,
        threads=spec.resources.cpus,
        folder=folder.path,
    )
    writer = WriterProcess(
        url, tracking_uri, spec.name, folder.path.parent / "mlartifacts", folder.writer_log
    )
    writer.start()
    start_ray()
    assert writer.drain(60), "the MLflow writer did not come up"

    with ProcessorClock() as processor:
        began = time.perf_counter()
        controller = SearchController(spec, work.space, event_log)
        for point in work.points:
            controller.study.enqueue_trial(point, skip_if_exists=True)
        storage = folder.tune / "search"
        worker_events = MagicMock(spec=WorkerEvents)  # never called: all runs here
        phases = iter([Phase(controller, shared, len(work.points), last=True)])
        run_phases(phases, spec.resources, CONCURRENT, storage, worker_events, StopRequest())
        ended = time.perf_counter()
        assert writer.drain(60), "the MLflow writer did not come to an end"
        drained = time.perf_counter()
    writer.stop()

    events = [stored.event for stored in event_log.record.events()]
    trials = sorted(fold(events).values(), key=lambda trial: trial.number)
    return Outcome(
        side="raysel",
        seconds=ended - began,
        drained=drained - began,
        states=dict(Counter(trial.status for trial in trials)),
        curves=[[e["val/loss"] for e in t.epochs] for t in trials],  # type: ignore[misc]
        training=sum(e["cost/seconds"] or 0.0 for t in trials for e in t.epochs),
        processor=processor.seconds,
    )


def run_plain(work: Work, tracking_uri: str) -> Outcome:
    """The hand-written script."""
    import mlflow
    import torch
    from plain_tune import search

    from raysel.training.batches import to_device
    from raysel.training.loop import TrialData

    assert mlflow  # imported before the clock starts: raysel's writer is up by then as well
    task, host = work.task, torch.device("cpu")
    train, validation = (
        to_device(part, task.mean, task.std, host) for part in (task.train, task.validation)
    )
    start_ray()

    with ProcessorClock() as processor:
        began = time.perf_counter()
        grid = search(
            work.model_config,
            work.weights,
            TrialData(train, validation),
            work.points,
            CONCURRENT,
            work.spec.pruner.kind != "none",
            Path(work.spec.storage),
            tracking_uri,
        )
        ended = time.perf_counter()

    rows = [result.metrics_dataframe for result in grid]
    numbers = [_number(work.points, result.config) for result in grid]
    assert sorted(numbers) == list(range(len(work.points))), "not the same configurations"
    by_number = dict(zip(numbers, rows, strict=True))
    return Outcome(
        side="plain",
        seconds=ended - began,
        drained=ended - began,
        states=dict(Counter("ERROR" if result.error else "ENDED" for result in grid)),
        curves=[list(by_number[n]["val/loss"]) for n in range(len(work.points))],
        training=float(sum(frame["cost/seconds"].sum() for frame in rows)),
        processor=processor.seconds,
    )


def _number(points: Iterable[dict[str, Any]], config: dict[str, Any]) -> int:
    return next(n for n, point in enumerate(points) if point.items() <= config.items())
