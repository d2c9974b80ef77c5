"""The driver is killed again and again; what is left at the end is as if it had never been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import ray

from raysel.spec import Spec
from raysel.spec_file import parse
from raysel.sweep.agreement import study_differences
from raysel.sweep.start import start
from raysel.tracking.audit import Audit
from raysel.tracking.record import Record, sqlite_url
from raysel.tracking.state import TrialState, fold

from .chaos_driver import MOMENTS
from .conftest import ONE_AT_A_TIME, SMALL
from .helpers import Silent, publish_nothing, states, study_of, without_clocks

ROOT = Path(__file__).parents[2]
BUDGET = ("search.num_trials=12", "confirm.seeds=1", *ONE_AT_A_TIME)
LIFE_SECONDS = 180


@pytest.fixture(scope="module")
def untouched(ray_cluster: None, storage: Path) -> dict[str, TrialState]:
    """The sweep that nobody killed."""
    spec = parse(SMALL, [f"storage={storage}", "name=untouched", *BUDGET])
    return states(start(spec, Silent(), publish_nothing).folder.path)


@pytest.fixture
def file(tmp_path: Path, storage: Path) -> Path:
    """The same sweep as a file, under another name."""
    path = tmp_path / "chaos.yaml"
    overrides = [f"storage={storage}", f"name=chaos-{tmp_path.name}", *BUDGET]
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
        timeout=LIFE_SECONDS,
        env=environment,
        cwd=ROOT,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    assert ended.returncode in (0, -signal.SIGKILL), ended.stdout + ended.stderr
    return ended.returncode


def moments(kills: int, seed: int) -> Iterator[tuple[str, int]]:
    """Every kind in a shuffled order, then again; each at its first to fourth coming."""
    generator = random.Random(seed)
    given = 0
    while given < kills:
        for moment in generator.sample(MOMENTS, len(MOMENTS)):
            rare = "finished" in moment or "confirm" in moment
            yield moment, 1 if rare else generator.randint(1, 30 if moment == "time" else 4)
            given += 1


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
    assert sum(t.phase == "search" for t in trials.values()) == 12
    study = study_of(folder, spec.name)
    assert study_differences(study, trials, spec.objective.metric) == []
    assert all(t.state != optuna.trial.TrialState.RUNNING for t in study.trials)
    record = Record(sqlite_url(folder / "sweep.db"))
    events = [stored.event for stored in record.events()]
    record.close()
    assert fold(events) == trials
    audit = Audit(sqlite_url(Path(spec.storage) / "mlflow.db"), spec.name, events)
    assert audit.differences == []


def test_a_few_kills_leave_no_trace(file: Path, untouched: dict[str, TrialState]) -> None:
    spec = parse(file.read_text(encoding="utf-8"))
    for moment, count in (("after epoch", 5), ("before tell", 2), ("before confirm ended", 1)):
        assert live(file, moment, count) == -signal.SIGKILL, moment
    assert live(file, "time", 10**6) == 0
    check(spec, untouched)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_kills_leave_no_trace(file: Path, untouched: dict[str, TrialState]) -> None:
    spec = parse(file.read_text(encoding="utf-8"))
    killed = 0
    for moment, count in moments(1000, seed=4):
        # a life that reached its end without its moment ends the sweep: no kill counts then
        killed += live(file, moment, count) == -signal.SIGKILL
        if killed >= 30:
            break
        if spec_is_complete(spec):
            pytest.fail(f"the sweep was complete after {killed} kills")
    assert live(file, "time", 10**6) == 0
    check(spec, untouched)


def spec_is_complete(spec: Spec) -> bool:
    """Whether the sweep has come to its end."""
    return (Path(spec.storage) / spec.name / "best").exists()
