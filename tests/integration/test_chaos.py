"""The driver is killed again and again; what is left at the end is as if it had never been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import ray

from raysel.record.events import Record, sqlite_url
from raysel.record.state import ENDED, TrialState, fold
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.sweep.start import start

from .chaos_driver import LAST_MOMENTS, SEARCH_MOMENTS
from .conftest import ONE_AT_A_TIME, SMALL
from .drivers import here, same, write
from .helpers import Silent, publish_nothing, states, study_of, without_clocks
from .mlflow_oracle import mlflow_differences
from .study_oracle import study_differences

ROOT = Path(__file__).parents[2]
LONGER = (
    *("search.num_trials=12", "confirm.seeds=1"),
    *("training.epochs=6", "pruner.grace_epochs=3"),
)
ATTEMPT_SECONDS = 400  # a minute and more where others use the machine


def undisturbed(storage: Path, name: str, *more: str) -> dict[str, TrialState]:
    """The trials of the sweep that nobody killed."""
    spec = parse(SMALL, [f"storage={storage}", f"name={name}", *ONE_AT_A_TIME, *more])
    return states(start(spec, Silent(), publish_nothing).folder.path)


def written(folder: Path, storage: Path, *more: str) -> Path:
    """The same sweep as a file, under another name."""
    path = folder / "chaos.yaml"
    overrides = [f"storage={storage}", f"name=chaos-{folder.name}", *ONE_AT_A_TIME, *more]
    path.write_text(parse(SMALL, overrides).to_yaml(), encoding="utf-8")
    return path


def live(file: Path, moment: str, count: int) -> int:
    """One life of the driver over the shared Ray; its exit code."""
    environment = os.environ | {
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.integration.chaos_driver", moment, str(count)]
    ended = subprocess.run(
        [*command, "run", str(file), "--resume-if-exists", "--quiet"],
        capture_output=True,
        text=True,
        timeout=ATTEMPT_SECONDS,
        env=environment,
        cwd=ROOT,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    assert ended.returncode in (0, -signal.SIGKILL), ended.stdout + ended.stderr
    return ended.returncode


def check(spec: Spec, untouched: dict[str, TrialState]) -> None:
    """Record, study and MLflow agree, and are what they would have been."""
    folder = Path(spec.storage) / spec.name
    trials = states(folder)
    assert sorted(map(without_clocks, trials.values())) == sorted(
        map(without_clocks, untouched.values())
    )
    assert {n: dict(t.suggested) for n, t in trials.items()} == {
        n: dict(t.suggested) for n, t in untouched.items()
    }
    assert sum(t.phase == "search" for t in trials.values()) == spec.search.num_trials
    study = study_of(folder, spec.name)
    assert study_differences(study, trials, spec.objective.metric) == []
    assert all(t.state != optuna.trial.TrialState.RUNNING for t in study.trials)
    record = Record(sqlite_url(folder / "sweep.db"))
    events = [stored.event for stored in record.events()]
    record.close()
    assert fold(events) == trials
    uri = sqlite_url(Path(spec.storage) / "mlflow.db")
    assert mlflow_differences(uri, spec.name, events) == []


def test_a_kill_leaves_no_trace(
    tiny_reference: list[object], tmp_path: Path, storage: Path
) -> None:
    file, spec = write(tmp_path / "killed.yaml", "killed", storage)
    assert killed(file, "after epoch", 5)
    code, out, err = here("run", str(file), "--resume-if-exists", "--quiet")
    assert code == 0, out + err
    assert same(spec, tiny_reference)


@pytest.mark.slow
def test_a_few_kills_leave_no_trace(reference: Path, tmp_path: Path, storage: Path) -> None:
    file = written(tmp_path, storage)
    spec = parse(file.read_text(encoding="utf-8"))
    for moment, count in (("after epoch", 5), ("before tell", 2), ("before confirm ended", 1)):
        assert live(file, moment, count) == -signal.SIGKILL, moment
    assert live(file, "time", 10**6) == 0
    check(spec, states(reference))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_kills_leave_no_trace(ray_cluster: None, tmp_path: Path, storage: Path) -> None:
    """At every kind of moment of the search, then of the confirm phase, then of the end."""
    untouched = undisturbed(storage, "untouched-longer", *LONGER)
    file = written(tmp_path, storage, *LONGER)
    spec = parse(file.read_text(encoding="utf-8"))
    generator = random.Random(4)
    again = ("before epoch", "after epoch", "before report", "after report")
    kinds = generator.sample(SEARCH_MOMENTS, len(SEARCH_MOMENTS))
    for moment in (*kinds, *again):
        tenths = generator.randint(1, 4)
        assert killed(file, moment, tenths if moment == "time" else 1), moment
    assert sum(t.phase == "search" and t.status in ENDED for t in states_of(spec)) < 12
    confirm = ["before confirm started", *["after confirm epoch"] * 3, "before confirm ended"]
    for moment in (*confirm, "after confirm epoch"):
        assert killed(file, moment, 1), moment
    for moment in LAST_MOMENTS:
        assert killed(file, moment, 1), moment
    assert live(file, "time", 10**6) == 0
    check(spec, untouched)


def killed(file: Path, moment: str, count: int) -> bool:
    return live(file, moment, count) == -signal.SIGKILL


def states_of(spec: Spec) -> list[TrialState]:
    return [*states(Path(spec.storage) / spec.name).values()]
