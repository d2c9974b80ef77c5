"""Drivers in processes of their own over the tests' shared Ray, and whether the three records
of what they left agree."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import psutil
import ray
import sqlalchemy as sa

from raysel.cli.main import main
from raysel.common.locations import sweep_url
from raysel.record.events import Event
from raysel.record.layout import SweepFolder, tracking_uri
from raysel.record.read_only import read_events
from raysel.record.state import ENDED, TrialState, fold, fold_sweep
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.sweep.export_process import EXPORTER

from .helpers import study_of, without_clocks
from .mlflow_oracle import mlflow_differences
from .study_oracle import study_differences

ROOT = Path(__file__).parents[2]
ATTEMPT_SECONDS = 180
DRIVER = (sys.executable, "-m", "tests.integration.lease_driver")

TINY = """
name: tiny
task:
  data: digits
  source: 300
  shift: {kind: gaussian_noise, severity: 3}
  split: {train: 60, validation: 60, test: 60, seed: 3}
model: {name: test_resnet}
strategies:
  linear_probe:
  surgical: {block: search}
training: {epochs: 3, batch_size: 20, learning_rate: {float: [1e-3, 1e-1], log: true}}
search: {num_trials: 5, seed: 1}
pruner: {grace_epochs: 1}
confirm: {seeds: 1}
resources: {max_concurrent_trials: 1}
"""


def write(path: Path, name: str, storage: Path, **more: str) -> tuple[Path, Spec]:
    """A sweep of 5 trials, one at a time, as a file."""
    overrides = [f"storage={storage}", f"name={name}", *(f"{k}={v}" for k, v in more.items())]
    spec = parse(TINY, overrides)
    path.write_text(spec.to_yaml(), encoding="utf-8")
    return path, spec


@contextmanager
def driver(
    *arguments: str,
    moment: str = "time",
    count: int = 10**6,
    lease: float = 30.0,
    action: str = "freeze",
    **environment: str,
) -> Iterator[subprocess.Popen[str]]:
    """`raysel ARGUMENTS`, which freezes (or does another action of `actions`) at a moment of
    `chaos_driver`; killed at the end of the block, frozen or not, with its MLflow writer."""
    if "RAY_ADDRESS" not in environment:
        environment["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    process = subprocess.Popen(
        [*DRIVER, str(lease), action, moment, str(count), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        for one in writers_of(process):
            one.kill()
        process.kill()
        process.communicate()


def writers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The MLflow writers of a driver."""
    try:
        children = psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []
    return [c for c in children if EXPORTER in " ".join(_command(c))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def ended(process: subprocess.Popen[str], seconds: float = ATTEMPT_SECONDS) -> tuple[int, str, str]:
    """Wait for its end: exit code, standard output, standard error."""
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in out + err, out + err
    return process.returncode, out, err


def live(*arguments: str, **more: Any) -> tuple[int, str, str]:
    """A whole life in a process of its own."""
    with driver(*arguments, **more) as process:
        return ended(process)


def here(*arguments: str) -> tuple[int, str, str]:
    """`raysel ARGUMENTS` in this process, which has imported everything already."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def wait_until(what: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def is_frozen(process: subprocess.Popen[str]) -> bool:
    """Whether it was stopped by SIGSTOP; it must not have ended."""
    if process.poll() is not None:
        raise AssertionError(str(process.communicate()))
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def record_url(spec: Spec) -> str:
    """Where the sweep's record lies: a file of its folder, or a schema in PostgreSQL."""
    return sweep_url(spec.database_url, SweepFolder.of(spec.storage, spec.name).record, spec.name)


def events_of(spec: Spec) -> list[Event]:
    return read_events(record_url(spec))


def states(spec: Spec) -> dict[str, TrialState]:
    return fold(events_of(spec))


def epochs(spec: Spec) -> int:
    """How many epochs the record has; 0 while there is none."""
    try:
        return sum(event.kind == "epoch" for event in events_of(spec))
    except Exception:  # it is being made
        return 0


def rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in the order of their texts."""
    engine = sa.create_engine(url)
    try:
        tables = sa.MetaData()
        tables.reflect(engine)
        with engine.connect() as connection:
            return {
                name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
                for name, table in tables.tables.items()
            }
    finally:
        engine.dispose()


def check_agreement(spec: Spec, trials: int = 5) -> dict[str, TrialState]:
    """The sweep is complete, every trial is there once, and the three records agree."""
    folder = SweepFolder.of(spec.storage, spec.name)
    events = events_of(spec)
    found = fold(events)
    assert fold_sweep(events).status == "COMPLETE"
    assert {t.status for t in found.values()} <= ENDED
    assert sum(t.phase == "search" for t in found.values()) == trials
    study = study_of(folder.path, spec.name, record_url(spec))
    assert len(study.trials) == trials
    assert study_differences(study, found, spec.objective.metric) == []
    experiment = spec.tracking.experiment or spec.name
    assert mlflow_differences(tracking_uri(spec), experiment, events) == []
    return found


def same(spec: Spec, reference: list[object]) -> bool:
    """Whether it agrees with itself and did what the undisturbed sweep did."""
    return sorted(map(without_clocks, check_agreement(spec).values())) == reference


def one_line(err: str) -> str:
    """The only line on standard error."""
    (line,) = err.strip().splitlines()
    return line
