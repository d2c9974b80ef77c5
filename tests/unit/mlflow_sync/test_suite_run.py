"""The run above a suite's cells: made once, its state that of the cells."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysel.mlflow_sync import suite_run
from raysel.mlflow_sync.runs import PARENT, RunImage
from raysel.mlflow_sync.suite_run import (
    SuiteOfCell,
    ensure_suite_run,
    suite_of,
    update_suite_run,
)
from raysel.record.events import SWEEP
from raysel.record.state import SweepState

SUITE = SuiteOfCell("table", "abc", cells=2)


class Client:
    """MLflow's client over a list of runs."""

    def __init__(self) -> None:
        self.runs: list[Any] = []
        self.changes = self.searches = 0
        self.before_creating = lambda: None

    def create_run(self, _: str, start_time: int, tags: dict[str, str], run_name: str) -> Any:
        self.before_creating()
        run_id = f"r{len(self.runs)}"
        info = SimpleNamespace(
            run_id=run_id, start_time=start_time, status="RUNNING", end_time=None, name=run_name
        )
        self.runs.append(SimpleNamespace(info=info, data=SimpleNamespace(tags=tags)))
        return self.runs[-1]

    def cell(self, parent: str, status: str, ended: int | None) -> Any:
        run = self.create_run("0", 0, {PARENT: parent}, "cell")
        run.info.status, run.info.end_time = status, ended
        return run

    def search_runs(self, _: list[str], query: str, max_results: int = 1000) -> list[Any]:
        self.searches += 1
        name, value = re.fullmatch(r"tags\.`(.*)` = '(.*)'", query).groups()
        return [run for run in self.runs if run.data.tags.get(name) == value]

    def get_run(self, run_id: str) -> Any:
        return next(run for run in self.runs if run.info.run_id == run_id)

    def delete_run(self, run_id: str) -> None:
        self.runs.remove(self.get_run(run_id))

    def update_run(self, run_id: str, status: str) -> None:
        self.set_terminated(run_id, status, None)

    def set_terminated(self, run_id: str, status: str, ended: int | None) -> None:
        self.changes += 1
        info = self.get_run(run_id).info
        info.status, info.end_time = status, ended


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    clock = iter(range(1, 100))
    monkeypatch.setattr(suite_run, "time", SimpleNamespace(time=lambda: next(clock)))
    return Client()


def test_it_is_made_once_and_found_again(client: Client) -> None:
    first = ensure_suite_run(client, "0", SUITE)
    assert ensure_suite_run(client, "0", SUITE) == first
    assert [run.info.name for run in client.runs] == ["table"]
    assert ensure_suite_run(client, "0", SuiteOfCell("table", "another")) != first


def test_of_two_that_are_made_at_once_the_first_stays(client: Client) -> None:
    def another() -> None:
        client.before_creating = lambda: None
        client.create_run("0", 0, {suite_run.SUITE_RUN: "abc"}, "table")

    client.before_creating = another
    assert ensure_suite_run(client, "0", SUITE) == "r0"
    assert [run.info.run_id for run in client.runs] == ["r0"]


def test_its_state_follows_from_the_cells_and_nothing_is_changed_twice(client: Client) -> None:
    above = ensure_suite_run(client, "0", SUITE)

    def state() -> tuple[str, int | None]:
        update_suite_run(client, "0", above, SUITE)
        changes = client.changes
        update_suite_run(client, "0", above, SUITE)
        assert client.changes == changes
        info = client.get_run(above).info
        return info.status, info.end_time

    first = client.cell(above, "RUNNING", None)
    assert state() == ("RUNNING", None)
    first.info.status, first.info.end_time = "FINISHED", 5
    assert state() == ("KILLED", 5)  # the other cell has not begun
    second = client.cell(above, "RUNNING", None)
    assert state() == ("RUNNING", None)
    second.info.status, second.info.end_time = "KILLED", 7
    assert state() == ("KILLED", 7)
    second.info.status, second.info.end_time = "FINISHED", 9
    assert state() == ("FINISHED", 9)


def test_a_cell_looks_for_the_run_once_and_at_the_others_when_its_own_state_changes(
    client: Client,
) -> None:
    run, image = (
        suite_run.SuiteRun(client, "0", SUITE),
        RunImage(SWEEP, "a", "RUNNING", 1, None, {}),
    )
    client.cell(run.id, "RUNNING", None)
    assert run.id == "r0"
    asked = client.searches
    assert asked == 2  # before and after it was made
    for _ in range(3):
        run.follow(image)
    assert client.searches == asked + 1
    client.runs[1].info.status, client.runs[1].info.end_time = "FINISHED", 5
    run.follow(replace(image, status="FINISHED", ended=5))
    assert client.searches == asked + 2
    assert client.get_run("r0").info.status == "KILLED"  # the other cell has not begun


def test_a_cells_suite_is_read_from_the_suites_file(tmp_path: Path) -> None:
    cell = SweepState(name="table/shots3", folder=str(tmp_path / "table" / "shots3"))
    assert suite_of(SweepState(name="alone", folder=str(tmp_path / "alone"))) is None
    assert suite_of(cell) == SuiteOfCell("table", "table")  # the file is not there
    (tmp_path / "table").mkdir()
    stored = {"id": "abc", "cells": [{}, {}], "description": "two"}
    (tmp_path / "table" / "suite.json").write_text(json.dumps(stored))
    assert suite_of(cell) == SuiteOfCell("table", "abc", 2, "two")
