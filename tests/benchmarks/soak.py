"""A thousand trivial trials: does the driver grow, does it slow down, is anything left over?

    python tests/benchmarks/soak.py [--trials 1000] [--sampler random|tpe] [--without-workers]

Each trial trains the head of a very small model on 20 digits for one epoch. For every hundred
trials it prints their wall time, what of it Optuna's own ask, report and tell took, the driver's
processor time (which other work on the machine changes least) and its resident memory after them.
At the end no trial and no run may be RUNNING.

With --without-workers the search's trials are made-up numbers: the driver is whole (session,
search, record, its copy, the exporter's process to MLflow, a Ray that has nothing to do), Tune and
its workers are left out. That takes minutes also where others use the machine.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mlflow
import optuna
import psutil

from raysel.engine.trial_source import Assignment, Phase, TrialSource
from raysel.engine.tune import run_phases
from raysel.record.events import Kind, sqlite_url
from raysel.record.layout import SweepFolder, tracking_uri
from raysel.record.read_only import read_events
from raysel.record.state import RUNNING, fold
from raysel.spec.reader import parse
from raysel.sweep import session
from raysel.sweep.start import start
from raysel.training.trial_worker import PhaseContext
from raysel.training.worker_messages import EpochMessage

HUNDRED, CONCURRENT = 100, 2

METRICS = (
    *("train/loss", "val/loss", "val/balanced_error", "val/top5_error", "cost/updated_params"),
    *("train/skipped_steps", "cost/seconds"),
)

FILE = """
name: soak
task:
  data: digits
  source: 300
  shift: {kind: gaussian_noise, severity: 3}
  split: {train: 20, validation: 20, test: 20}
model: {name: test_resnet}
strategies: {linear_probe: {training: {learning_rate: {float: [1e-4, 1e-1], log: true}}}}
training: {epochs: 1, batch_size: 20}
search: {baselines: false, seed: 1}
pruner: {kind: none}
confirm: {seeds: 1}
"""


class Clock:
    """Adds up the time that calls of a function take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - began

        setattr(owner, name, timed)


@dataclass(frozen=True)
class Reading:
    """Seconds (wall time, Optuna's part of it, the driver's processor time) and memory in kB."""

    wall: float
    optuna: float
    processor: float
    memory: float


class Meter:
    """A watcher that notes time and memory after every hundred trials."""

    def __init__(self, optuna_clock: Clock) -> None:
        self._optuna, self._process, self._ended = optuna_clock, psutil.Process(), 0
        self.readings: list[Reading] = []

    def phase(self, name: str, *_: Any) -> None:
        if name == "search":
            self._note()

    def event(self, event: Any) -> None:
        if event.kind == Kind.ENDED and event.trial.isdigit():
            self._ended += 1
            if self._ended % HUNDRED == 0:
                self._note()

    def _note(self) -> None:
        memory = self._process.memory_info().rss / 1024
        now = Reading(time.perf_counter(), self._optuna.seconds, time.process_time(), memory)
        self.readings.append(now)
        if len(self.readings) > 1:
            before = self.readings[-2]
            print(
                f"{HUNDRED * (len(self.readings) - 1):5d} trials  {now.wall - before.wall:6.1f} s, "
                f"of it Optuna {now.optuna - before.optuna:5.1f} s  "
                f"processor {now.processor - before.processor:5.1f} s  {memory / 1024:7.1f} MiB",
                flush=True,
            )

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def without_workers(phases: Iterator[Phase], *others: Any) -> None:
    """In the place of `run_phases`: a search whose numbers are made up, then the confirm phase on
    real workers."""
    search = next(phases)
    made_up(search.source, search.context)
    run_phases(phases, *others)


def made_up(source: TrialSource, shared: PhaseContext) -> None:
    """Run a source's trials two at a time without training."""
    numbers = random.Random(1)
    live: deque[Assignment] = deque()
    while True:
        while len(live) < CONCURRENT and (assignment := source.next_trial()) is not None:
            live.append(assignment)
        if not live:
            return
        ended = live.popleft()
        rate = ended.config.training.learning_rate
        error = min(1.0, 0.3 + 0.2 * abs(math.log10(rate) + 2) + 0.1 * numbers.random())
        metrics = dict.fromkeys(METRICS, numbers.random()) | {"val/error": error}
        layers = {f"select/{name}": float(name == "head") for name in shared.partition.names}
        source.epoch(ended.trial, EpochMessage(1, metrics | layers))


def summary(readings: list[Reading]) -> str:
    """Growth in the second half, and the last hundred against the first and the second."""
    half = len(readings) // 2
    trials = HUNDRED * (len(readings) - 1 - half)
    growth = (readings[-1].memory - readings[half].memory) / trials
    lines = [f"memory in the second half: {growth:+.1f} kB a trial"]
    spans = [
        (b.wall - a.wall, b.optuna - a.optuna, b.processor - a.processor)
        for a, b in itertools.pairwise(readings)
    ]
    wall, own, processor = spans[-1]
    for name, (its_wall, its_own, its_processor) in zip(("first", "second"), spans, strict=False):
        lines.append(
            f"last hundred / {name} hundred: {wall / its_wall:.2f}, "
            f"without Optuna's share {(wall - own) / (its_wall - its_own):.2f}, "
            f"the driver's processor time {processor / its_processor:.2f}"
        )
    return "\n".join(lines)


def left_running(folder: SweepFolder, uri: str, exported: bool) -> int:
    """Trials and runs that are RUNNING in any of the three records; where MLflow and Optuna's
    database are not `exported` whole, in the record alone."""
    url = sqlite_url(folder.record)
    record = sum(t.status == RUNNING for t in fold(read_events(url)).values())
    if not exported:
        return record
    study = optuna.load_study(study_name="soak", storage=sqlite_url(folder.study))
    waiting = (optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("soak")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
    return record + len(study.get_trials(states=waiting)) + len(runs)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--sampler", choices=["random", "tpe"], default="random")
    parser.add_argument("--without-workers", action="store_true")
    options = parser.parse_args()
    if options.without_workers:
        session.run_phases = without_workers
    clock = Clock()
    clock.around(optuna.Study, "ask")
    clock.around(optuna.Study, "tell")
    clock.around(optuna.trial.Trial, "report")
    clock.around(optuna.trial.Trial, "_suggest")
    meter = Meter(clock)
    with tempfile.TemporaryDirectory() as storage:
        overrides = [f"storage={storage}", f"search.num_trials={options.trials}"]
        spec = parse(FILE, [*overrides, f"search.sampler={options.sampler}"])
        start(spec, meter, lambda outcome: outcome)
        print(summary(meter.rows))
        left = left_running(SweepFolder.of(storage, "soak"), tracking_uri(spec))
        print(f"left RUNNING: {left}")
    raise SystemExit(left > 0)


if __name__ == "__main__":
    main()
