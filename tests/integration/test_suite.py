"""A suite of two models, three numbers of shots and three arms on photographs, through the command
line: killed twice with SIGKILL, resumed, its cells' records agree, its page is drawn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from raysel.record.events import sqlite_url
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.record.state import fold, fold_sweep
from raysel.sweep.suite_folder import SuiteView, read_suite

from .helpers import states, without_clocks
from .mlflow_oracle import mlflow_differences
from .photographs import write_small_photographs

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

CELLS, ARMS = 6, 3
SEARCHED, CONFIRMED = 3, 2 * ARMS

FILE = """\
name: table
task:
  data: {{folder: {storage}/pictures}}
  cache: {storage}/cache
  image_size: 32
  source: 60
  shift: {{kind: gaussian_noise, severity: 3}}
  split: {{train: 20, validation: 20, test: 20, seed: 3}}
model: {{name: test_resnet, weights: source}}
source: {{epochs: 3}}
strategies: {{full: , linear_probe: , surgical: {{block: head}}}}
training: {{epochs: 2, batch_size: 10, learning_rate: {{float: [1e-3, 1e-1], log: true}}}}
search: {{num_trials: 3}}
confirm: {{splits: 2}}
resources: {{max_concurrent_trials: 1}}
storage: {storage}
axes:
  model.name: [test_resnet, resnet10t]
  training.shots: [2, 4, 8]
"""


def write_suite(storage: Path) -> Path:
    """The suite's file, and its photographs beside it."""
    write_small_photographs(storage / "pictures", each=60)
    file = storage / "table.yaml"
    file.write_text(FILE.format(storage=storage), encoding="utf-8")
    return file


def raysel(*arguments: str, **more: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    return subprocess.Popen(
        [sys.executable, "-m", "raysel", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment | more,
    )


def ended(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, out
    assert "Traceback" not in out, out
    return out


def wait_for_complete(storage: Path, count: int, process: subprocess.Popen[str]) -> SuiteView:
    """Until so many cells are complete, and one more has an epoch."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if (storage / "table" / "suite.json").exists():
            view = read_suite(str(storage), "table")
            under_way = [c.view for c in view.cells if c.view and c.state == "RUNNING"]
            if view.complete >= count and any(t.epochs for v in under_way for t in v.trials):
                return view
        time.sleep(0.1)
    pytest.fail(f"it did not come to that: {process.communicate()[0]}")


def killed(storage: Path, complete: int, *arguments: str) -> SuiteView:
    """How a driver leaves the suite that is killed after so many complete cells."""
    process = raysel(*arguments)
    try:
        return wait_for_complete(storage, complete, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SuiteView, str]:
    """A suite that was killed after its first cell, and again after its third; the storage, how it
    was left the first time, and what the last `resume` printed."""
    storage = tmp_path_factory.mktemp("suite")
    way_on = ("resume", "table", "--storage", str(storage))
    left = killed(storage, 1, "run", str(write_suite(storage)))
    assert left.state == "RUNNING"
    killed(storage, 3, *way_on)
    return storage, left, ended(raysel(*way_on))


def test_every_cell_is_complete_and_what_had_ended_was_left_alone(outcome):
    storage, left, printed = outcome
    view = read_suite(str(storage), "table")
    assert view.state == "COMPLETE"
    assert f"{CELLS} of {CELLS} cells complete" in printed
    done = [cell.cell.name for cell in left.cells if cell.state == "COMPLETE"]
    assert done
    for name in done:
        events = read_events(sqlite_url(SweepFolder(storage / "table" / name).record))
        assert [e.kind for e in events if not e.trial] == ["sweep", "finished"]


def test_the_record_of_every_cell_and_mlflow_agree(outcome):
    storage, _, _ = outcome
    uri = f"sqlite:///{storage}/mlflow.db"
    for cell in read_suite(str(storage), "table").cells:
        folder = SweepFolder(storage / "table" / cell.cell.name)
        events = read_events(sqlite_url(folder.record))
        assert fold_sweep(events).status == "COMPLETE"
        trials = fold(events).values()
        assert sum(trial.phase == "search" for trial in trials) == SEARCHED
        assert sum(trial.phase == "confirm" for trial in trials) == CONFIRMED
        assert mlflow_differences(uri, "table", events) == []
    client = mlflow.MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "table"]
    (above,) = client.search_runs([experiment.experiment_id], "tags.`raysel.suite_run` != ''")
    assert (above.info.run_name, above.info.status) == ("table", "FINISHED")
    below = f"tags.`mlflow.parentRunId` = '{above.info.run_id}'"
    cells = client.search_runs([experiment.experiment_id], below)
    names = {cell.cell.name for cell in read_suite(str(storage), "table").cells}
    assert {run.data.tags["raysel.cell"] for run in cells} == names
    assert len(cells) == CELLS
    in_suite = client.search_runs([experiment.experiment_id], "tags.`raysel.suite` = 'table'")
    assert len(in_suite) == CELLS * (1 + SEARCHED + CONFIRMED)
    out = ended(raysel("reconcile", "table", "--dry-run", "--storage", str(storage)))
    assert out.count("record and MLflow agree") == CELLS


def test_a_cell_gives_what_the_same_sweep_gives_alone(outcome):
    storage, _, _ = outcome
    cell = storage / "table" / "test_resnet-shots4"
    alone = storage / "alone.yaml"
    text = FILE.format(storage=storage).partition("axes:")[0]
    alone.write_text(text, encoding="utf-8")
    sets = ["--set", "name=alone", "--set", "training.shots=4"]
    ended(raysel("run", str(alone), *sets))
    in_suite = sorted(map(without_clocks, states(cell).values()))
    assert in_suite == sorted(map(without_clocks, states(storage / "alone").values()))


def test_the_page_has_a_row_an_arm_a_column_a_cell_and_links(outcome):
    storage, _, _ = outcome
    page = (storage / "table" / "report" / "index.html").read_text("utf-8")
    names = [cell.cell.name for cell in read_suite(str(storage), "table").cells]
    for name in names:
        assert f'href="../{name}/report/index.html"' in page
        assert (storage / "table" / name / "report" / "index.html").is_file()
    csv = (storage / "table" / "report" / "tables" / "suite.csv").read_text("utf-8")
    assert all(name in csv for name in names)
    assert len(csv.splitlines()) == 1 + ARMS + 1  # and the untouched model
    listed = ended(raysel("list", "--json", "--storage", str(storage)))
    (suite,) = json.loads(listed)["suites"]
    assert suite == {"name": "table", "state": "COMPLETE", "cells": CELLS, "complete": CELLS}
