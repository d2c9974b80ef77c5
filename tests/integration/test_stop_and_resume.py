"""A driver that is stopped or killed, and the next one that takes the sweep up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
from optuna.trial import TrialState as OptunaState

from .conftest import ONE_AT_A_TIME
from .helpers import states, study_of, without_clocks

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@contextmanager
def driver(file: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`raysel run` in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "raysel", "run", str(file), "--set", f"name={name}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def wait_for_epochs(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until the record holds `count` epochs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "sweep.db").exists():
            try:
                if sum(len(t.epochs) for t in states(folder).values()) >= count:
                    return
            except Exception:  # the database is being made
                pass
        time.sleep(0.1)
    pytest.fail(f"no {count} epochs; the driver said: {process.stdout and process.stdout.read()}")


def resume(storage: Path, name: str) -> subprocess.CompletedProcess[str]:
    return raysel("resume", storage, name)


def raysel(verb: str, storage: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raysel", verb, *arguments, "--storage", str(storage)],
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_killed_driver_is_taken_up_and_ends_the_budget_exactly(
    small_file: Path, storage: Path, reference: Path
) -> None:
    with driver(small_file, "killed", "--set", *ONE_AT_A_TIME) as process:
        wait_for_epochs(storage / "killed", 7, process)
        process.send_signal(signal.SIGKILL)
    left = [t.state for t in study_of(storage / "killed", "killed").trials]
    assert OptunaState.RUNNING in left or OptunaState.WAITING in left
    done = resume(storage, "killed")
    assert done.returncode == 0, done.stdout + done.stderr
    trials = study_of(storage / "killed", "killed").trials
    assert len(trials) == 8
    assert {t.state for t in trials} <= {OptunaState.COMPLETE, OptunaState.PRUNED}
    killed, untouched = states(storage / "killed"), states(reference)
    assert sorted(map(without_clocks, killed.values())) == sorted(
        map(without_clocks, untouched.values())
    )


def test_ctrl_c_ends_in_order_and_resume_goes_on(small_file: Path, storage: Path) -> None:
    with driver(small_file, "stopped") as process:
        wait_for_epochs(storage / "stopped", 4, process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "stopping:" in output and "raysel resume stopped" in output
    assert "Traceback" not in output
    trials = states(storage / "stopped").values()
    assert {t.status for t in trials} <= {"COMPLETE", "PRUNED", "INTERRUPTED"}
    optuna = {f"{t.number:04d}": t.state for t in study_of(storage / "stopped", "stopped").trials}
    for trial in trials:
        if trial.status == "INTERRUPTED":
            assert optuna[trial.id] == OptunaState.RUNNING
    done = resume(storage, "stopped")
    assert done.returncode == 0, done.stdout + done.stderr
    after = states(storage / "stopped")
    assert sum(t.phase == "search" for t in after.values()) == 8
    assert {t.status for t in after.values()} <= {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize("seconds", [0.0, 1.5, 3.0])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)
def test_a_stop_while_ray_starts_ends_in_order_too(
    small_file: Path, storage: Path, sign: signal.Signals, seconds: float
) -> None:
    """Ray answers SIGTERM in its own way, and is not there yet to end trials."""
    name = f"early_{sign.name.lower()}_{seconds:g}"
    with driver(small_file, name) as process:
        wait_for_epochs(storage / name, 0, process)
        time.sleep(seconds)
        process.send_signal(sign)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    client = mlflow.MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    assert all(run.info.status == "KILLED" for run in runs)
    assert runs or not seconds  # at 0 the sweep may not have begun
    if runs:
        done = raysel("reconcile", storage, name, "--dry-run")
        assert "record and MLflow agree" in done.stdout, done.stdout + done.stderr
