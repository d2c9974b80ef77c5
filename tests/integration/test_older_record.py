"""A sweep that was begun by a raysel whose record had no revisions, taken up by this one."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from .helpers import states, study_of
from .study_oracle import study_differences

pytestmark = [pytest.mark.slow, pytest.mark.ray]

ROOT = Path(__file__).parents[2]


def raysel(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raysel", *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=ROOT,
    )


def test_it_is_resumed_to_its_end_and_mlflow_agrees(tmp_path: Path) -> None:
    with tarfile.open(ROOT / "tests" / "records" / "older_record.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    before = states(tmp_path / "older")
    where = ("--storage", str(tmp_path))
    for verb in ("list", "show older"):
        assert raysel(*verb.split(), *where).returncode == 0
    done = raysel("resume", "older", *where, "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    trials = states(tmp_path / "older")
    assert {t.status for t in trials.values()} <= {"COMPLETE", "PRUNED"}
    assert sum(t.phase == "search" for t in trials.values()) == 8
    for name in ("0000", "0001", "0002", "0003"):
        assert trials[name].epochs == before[name].epochs
    assert study_differences(study_of(tmp_path / "older", "older"), trials, "val/error") == []
    agreed = raysel("reconcile", "older", *where)
    assert agreed.returncode == 0, agreed.stdout + agreed.stderr
    assert "record and MLflow agree" in agreed.stdout
    assert (tmp_path / "older" / "best" / "model.safetensors").stat().st_size > 100_000
