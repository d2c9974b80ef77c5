"""A thousand trivial trials: does the driver grow, does it slow down, is anything left over?

    python tests/benchmarks/soak.py [--trials 1000] [--sampler random|tpe]

Each trial trains the head of a very small model on 20 digits for one epoch. For every hundred
trials it prints their wall time, what of it Optuna's own ask, report and tell took, and the
driver's resident memory after them. At the end no trial and no run may be RUNNING.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from typing import Any

import mlflow
import optuna
import psutil

from raysel.record.events import Kind, sqlite_url
from raysel.record.layout import SweepFolder, tracking_uri
from raysel.record.read_only import read_events
from raysel.record.state import RUNNING, fold
from raysel.spec.reader import parse
from raysel.sweep.start import start

HUNDRED = 100

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


class Meter:
    """A watcher that notes time and memory after every hundred trials."""

    def __init__(self, optuna_clock: Clock) -> None:
        self._optuna, self._process, self._ended = optuna_clock, psutil.Process(), 0
        self.rows: list[tuple[float, float, float]] = []

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
        self.rows.append((time.perf_counter(), self._optuna.seconds, memory))
        if len(self.rows) > 1:
            (began, before, _), (now, after, _) = self.rows[-2:]
            print(
                f"{HUNDRED * (len(self.rows) - 1):5d} trials  {now - began:6.1f} s, of it "
                f"Optuna {after - before:5.1f} s  {memory / 1024:7.1f} MiB",
                flush=True,
            )

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def summary(rows: list[tuple[float, float, float]]) -> str:
    """Growth in the second half, and the last hundred against the first."""
    half = len(rows) // 2
    trials = HUNDRED * (len(rows) - 1 - half)
    growth = (rows[-1][2] - rows[half][2]) / trials
    spans = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(rows)]
    (first, first_optuna), (last, last_optuna) = spans[0], spans[-1]
    own = (last - last_optuna) / (first - first_optuna)
    return (
        f"memory in the second half: {growth:+.1f} kB a trial\n"
        f"last hundred / first hundred: {last / first:.2f}, without Optuna's share {own:.2f}"
    )


def left_running(folder: SweepFolder, uri: str) -> int:
    """Trials and runs that are RUNNING in any of the three records."""
    url = sqlite_url(folder.record)
    record = sum(t.status == RUNNING for t in fold(read_events(url)).values())
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
    options = parser.parse_args()
    clock = Clock()
    clock.around(optuna.Study, "ask")
    clock.around(optuna.Study, "tell")
    clock.around(optuna.trial.Trial, "report")
    clock.around(optuna.trial.Trial, "_suggest")
    meter = Meter(clock)
    with tempfile.TemporaryDirectory() as storage:
        overrides = [f"storage={storage}", f"search.num_trials={options.trials}"]
        spec = parse(FILE, [*overrides, f"search.sampler={options.sampler}"])
        start(spec, meter, lambda _: None)
        print(summary(meter.rows))
        left = left_running(SweepFolder.of(storage, "soak"), tracking_uri(spec))
        print(f"left RUNNING: {left}")
    raise SystemExit(left > 0)


if __name__ == "__main__":
    main()
