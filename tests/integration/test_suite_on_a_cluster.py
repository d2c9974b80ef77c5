"""The suite of `test_suite.py` as a job of a cluster: submitted, stopped, resumed, fetched."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest

from raysel.record.events import sqlite_url
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.record.state import RUNNING, fold, fold_sweep
from raysel.sweep.suite_folder import read_suite

from . import drivers
from .head import Head
from .mlflow_oracle import mlflow_differences
from .test_suite import CELLS, CONFIRMED, SEARCHED, write_suite

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


def test_a_suite_is_submitted_stopped_resumed_and_fetched(head: Head, tmp_path: Path) -> None:
    storage, to = tmp_path / "runs", ("--address", head.address)
    storage.mkdir()
    code, out, err = head.raysel("submit", str(write_suite(storage)), "--no-wait", *to)
    assert code == 0, out + err

    def some_cell_is_complete() -> bool:
        there = (storage / "table" / "suite.json").exists()
        return there and read_suite(str(storage), "table").complete >= 1

    drivers.wait_until(some_cell_is_complete, seconds=400)
    code, out, err = head.raysel("stop", "table", *to)
    assert code == 0 and "has stopped" in out, out + err
    left = read_suite(str(storage), "table")
    assert left.state == "INTERRUPTED" and left.complete < CELLS
    begun = [cell.view for cell in left.cells if cell.view is not None]
    assert not [t for view in begun for t in view.trials if t.status == RUNNING]
    code, out, err = head.raysel("resume", "table", *to)
    assert code == 0 and f"{CELLS} of {CELLS} cells complete" in out, out + err
    view = read_suite(str(storage), "table")
    assert view.state == "COMPLETE"
    for cell in view.cells:
        events = read_events(sqlite_url(SweepFolder(storage / "table" / cell.cell.name).record))
        assert fold_sweep(events).status == "COMPLETE"
        phases = [trial.phase for trial in fold(events).values()]
        assert (phases.count("search"), phases.count("confirm")) == (SEARCHED, CONFIRMED)
        assert mlflow_differences(f"sqlite:///{storage}/mlflow.db", "table", events) == []
    client = mlflow.MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("table")
    (above,) = client.search_runs([experiment.experiment_id], "tags.`raysel.suite_run` != ''")
    assert above.info.status == "FINISHED"
    code, out, err = head.raysel("status", "table", "--json", *to)
    assert (code, json.loads(out)["state"]) == (0, "SUCCEEDED"), out + err
    code, out, err = head.raysel("fetch", "table", *to, cwd=tmp_path)
    assert code == 0, out + err
    for name in ("report/index.html", *(f"{c.cell.name}/results.json" for c in view.cells)):
        fetched = (tmp_path / "fetched" / "table" / name).read_bytes()
        assert fetched == (storage / "table" / name).read_bytes(), name
