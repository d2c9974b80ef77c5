"""A search of thousands of trials on a clock that jumps: what the driver costs, without a cluster.

    python tests/benchmarks/simulated_engine.py [--trials 20000] [--concurrent 1000]
        [--sampler tpe|random] [--database sqlite|postgresql] [--export] [--kill]

The search controller, the record and its database are those of a sweep; in the place of Ray and the
workers stands a queue of events in simulated time, each trial an epoch a second or so, with errors
that are made up. For every tenth of the trials it prints the events and their number a second, the
driver's milliseconds a trial (wall time: the next trial, the reports of epochs, of both the
database; and its processor time, which other work on the machine changes least) and its memory; at
the end how long the exporter's reading of all events takes. With --export the exporter then sends
them to an MLflow database (SQLite, without a server), and the trials and events a second are
printed: how fast a sweep may be before MLflow falls behind.

With --kill a second process runs the search and is ended by SIGKILL at a random moment; whatever it
had acknowledged on its output must be in the record.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from raysel.engine.trial_source import Assignment
from raysel.mlflow_sync.client import MlflowStore
from raysel.mlflow_sync.exporter import MlflowExporter
from raysel.record.event_log import EventLog
from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url
from raysel.record.read_only import read_events
from raysel.search.space import Space
from raysel.spec.reader import parse
from raysel.sweep.search_controller import SearchController
from raysel.training.worker_messages import EpochMessage

LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")

FILE = """
name: simulated
task: {data: digits}
model: {name: resnet10t}
strategies:
  full:
  linear_probe:
  surgical: {block: search}
  bvg_ls: {ema_decay: {float: [0.5, 0.99]}, ema_init: debiased}
  bvg_ls_threshold: {ema_decay: 0.9, threshold: search}
training: {epochs: 10, learning_rate: {float: [1e-4, 1e-1], log: true}}
search: {seed: 0}
pruner: {kind: asha, grace_epochs: 2}
"""

MEBIBYTE = 2**20


@dataclass
class Costs:
    """Seconds of the driver by what they went to, and the events written."""

    suggesting: float = 0.0
    reporting: float = 0.0
    database: float = 0.0
    events: int = 0
    marks: list[tuple[float, ...]] = field(default_factory=list)

    def mark(self) -> None:
        """Note the state after a tenth of the trials."""
        clocks = time.perf_counter(), time.process_time()
        self.marks.append((*clocks, self.suggesting, self.reporting, self.database, self.events))


class TimedRecord(Record):
    """A record that adds up what its commits take."""

    def __init__(self, url: str, costs: Costs, acknowledge: Callable[[Event], None]) -> None:
        super().__init__(url)
        self._costs, self._acknowledge = costs, acknowledge

    def append(self, *events: Event) -> bool:
        began = time.perf_counter()
        new = super().append(*events)
        self._costs.database += time.perf_counter() - began
        self._costs.events += len(events)
        for event in events:
            self._acknowledge(event)
        return new


class Engine:
    """Runs a source's trials in simulated time."""

    def __init__(self, source: SearchController, costs: Costs, concurrent: int) -> None:
        self._source, self._costs, self._concurrent = source, costs, concurrent
        self._random = random.Random(1)
        self._queue: list[tuple[float, int, Assignment, int]] = []
        self._order, self.ended = 0, 0

    def run(self, tenth: int, most_seconds: float) -> None:
        """Until no trial is left, or the time is over."""
        end = time.perf_counter() + most_seconds
        self._costs.mark()
        for _ in range(self._concurrent):
            self._next(0.0)
        while self._queue and time.perf_counter() < end:
            now, _, assignment, epoch = heapq.heappop(self._queue)
            began = time.perf_counter()
            ends = self._source.epoch(assignment.trial, self._message(assignment, epoch))
            self._costs.reporting += time.perf_counter() - began
            if not ends:
                self._wait(now, assignment, epoch + 1)
                continue
            self.ended += 1
            if self.ended % tenth == 0:
                self._costs.mark()
                report(self._costs, tenth, self.ended)
            self._next(now)

    def _next(self, now: float) -> None:
        began = time.perf_counter()
        assignment = self._source.next_trial()
        self._costs.suggesting += time.perf_counter() - began
        if assignment is not None:
            self._wait(now, assignment, 1)

    def _wait(self, now: float, assignment: Assignment, epoch: int) -> None:
        self._order += 1
        seconds = self._random.lognormvariate(0.0, 0.4)
        heapq.heappush(self._queue, (now + seconds, self._order, assignment, epoch))

    def _message(self, assignment: Assignment, epoch: int) -> EpochMessage:
        """A curve that falls towards an error of the configuration's own."""
        own = random.Random(assignment.trial).random()
        error = min(1.0, own + 0.5 / epoch + 0.02 * self._random.random())
        layers = {f"select/{name}": self._random.random() for name in LAYERS}
        metrics = {"val/error": error, "val/loss": 2 * error, "train/loss": error}
        cost = {"cost/seconds": 1.0, "cost/updated_params": 1e6}
        return EpochMessage(epoch, metrics | layers | cost)


def report(costs: Costs, tenth: int, ended: int) -> None:
    """One line for the last tenth of the trials."""
    pairs = zip(*costs.marks[-2:], strict=True)
    spent = [now - before for before, now in pairs]
    wall, processor, suggesting, reporting, in_database, events = spent
    memory = psutil.Process().memory_info().rss / MEBIBYTE
    per = 1000 / tenth
    print(
        f"{ended:6d} trials  {events:6.0f} events, {events / wall:6.0f} a second  "
        f"{wall * per:6.2f} ms a trial: next {suggesting * per:6.2f}, "
        f"reports {reporting * per:6.2f}, of both the database {in_database * per:5.2f}; "
        f"processor {processor * per:6.2f}  "
        f"{memory:5.0f} MiB",
        flush=True,
    )


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The URL of an empty database."""
    with ExitStack() as stack:
        if kind == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            yield sqlite_url(Path(folder) / "sweep.db")
        else:
            sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
            from postgres import Postgres

            server = Postgres()
            stack.callback(server.close)
            server.start()
            yield server.new_database()


def simulate(url: str, options: argparse.Namespace, acknowledge: Callable[[Event], None]) -> None:
    """Run the search and print what it took."""
    costs = Costs()
    overrides = [f"search.num_trials={options.trials}", f"search.sampler={options.sampler}"]
    spec = parse(FILE, overrides)
    record = TimedRecord(url, costs, acknowledge)
    facts = {"name": spec.name, "sweep_id": "simulated", "layers": list(LAYERS)}
    record.append(Event(SWEEP, Kind.SWEEP, 0, 0.0, facts | {"spec": spec.to_yaml()}))
    source = SearchController(spec, Space(spec, LAYERS), EventLog(record, 1))
    engine = Engine(source, costs, options.concurrent)
    began = time.perf_counter()
    engine.run(max(1, options.trials // 10), options.seconds)
    whole = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{engine.ended} trials, {costs.events} events in {whole:.1f} s ({costs.events / whole:.0f}"
        f" a second; the database alone {costs.events / max(costs.database, 1e-9):.0f});"
        f" at most {peak:.0f} MiB"
    )
    began = time.perf_counter()
    count = sum(1 for _ in read_events(url))
    took = time.perf_counter() - began
    print(
        f"reading all events back, as the exporter does: {took:.2f} s, {count / took:.0f} a second"
    )
    if options.export:
        export(record, engine.ended)
    record.close()


def export(record: Record, trials: int) -> None:
    """Send all events to a new MLflow database, as the exporter's process does."""
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/mlflow.db"
        exporter = MlflowExporter(
            record, lambda sweep: MlflowStore(store, "simulated", f"{folder}/files", sweep)
        )
        exporter.export_events()  # the first batch makes the tables
        sent, began = exporter.sent, time.perf_counter()
        while exporter.export_events():
            pass
        took = time.perf_counter() - began
    share = (exporter.sent - sent) / exporter.sent
    print(
        f"exporting to MLflow: {took:.1f} s, {share * trials / took:.1f} trials and"
        f" {(exporter.sent - sent) / took:.0f} events a second"
    )


def killed(options: argparse.Namespace) -> None:
    """End a search by SIGKILL; everything that it acknowledged must be there."""
    with tempfile.TemporaryDirectory() as folder:
        url = sqlite_url(Path(folder) / "sweep.db")
        arguments = ["--child", url, "--trials", str(options.trials), "--sampler", options.sampler]
        process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        moment = threading.Timer(1.0 + 3.0 * random.random(), process.send_signal, [signal.SIGKILL])
        moment.start()
        lines += process.stdout.read().splitlines()
        process.wait()
        whole = (line for line in map(str.strip, lines) if line[:1] == "[" and line[-1:] == "]")
        acknowledged = {tuple(json.loads(line)) for line in whole}
        there = {(e.trial, Kind(e.kind).value, e.epoch) for e in read_events(url)}
    lost = acknowledged - there
    print(f"killed after {len(acknowledged)} acknowledged events; {len(lost)} of them are lost")
    raise SystemExit(bool(lost) or not acknowledged)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--concurrent", type=int, default=1_000)
    parser.add_argument("--sampler", choices=["tpe", "random"], default="tpe")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after so long")
    parser.add_argument("--export", action="store_true", help="send the events to MLflow after it")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kill:
        killed(options)
    if options.child:

        def acknowledge(event: Event) -> None:
            print(json.dumps([event.trial, Kind(event.kind).value, event.epoch]), flush=True)

        simulate(options.child, options, acknowledge)
        return
    with database(options.database) as url:
        simulate(url, options, lambda _: None)


if __name__ == "__main__":
    main()
