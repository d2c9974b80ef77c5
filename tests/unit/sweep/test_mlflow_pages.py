"""The newest sweeps' pages of MLflow, for `make ui`."""

from __future__ import annotations

import os
from pathlib import Path

from raysel.common.locations import mlflow_uri
from raysel.record.mlflow_page import FILE, note_experiment
from raysel.sweep.mlflow_pages import pages


def test_the_last_sweep_that_ran_comes_first_and_a_suite_once(tmp_path: Path) -> None:
    uri = mlflow_uri(tmp_path / "mlflow.db")
    for at, (name, where) in enumerate(
        [
            ("old", uri),
            ("study/a", uri),
            ("study/b", uri),
            ("elsewhere", "http://host"),
            ("new", uri),
        ]
    ):
        (tmp_path / name).mkdir(parents=True)
        note_experiment(tmp_path / name, where, str(at))
        os.utime(tmp_path / name / FILE, (at, at))
    found = pages(tmp_path, 5001)
    assert [name for name, _ in found] == ["new", "study", "old"]
    assert found[0][1].startswith("http://127.0.0.1:5001/#/experiments/4/runs?")


def test_a_folder_without_sweeps_has_none(tmp_path: Path) -> None:
    assert pages(tmp_path, 5000) == []
