"""Optuna's study as a database, exported from the record for dashboards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from controller_kit import Attempt, begin, run, sweep, work
from few_kit import several
from optuna.trial import TrialState as OptunaState

from raysel.engine.trial_source import Assignment
from raysel.record.events import SWEEP, Event, sqlite_url
from raysel.search import study_database
from raysel.search.study_database import StudyDatabase
from raysel.training.worker_messages import EpochMessage


def started(folder: Path) -> Attempt:
    attempt = begin(folder, sweep("pruner.compare=all"))
    payload = {"name": "toy", "objective": {"metric": "val/error"}}
    attempt.record.append(Event(SWEEP, "sweep", 0, 1.0, payload))
    return attempt


def started_trial(attempt: Attempt) -> Assignment:
    assignment = attempt.controller.next_trial()
    assert assignment is not None
    return assignment


def export(attempt: Attempt, file: Path) -> None:
    database = StudyDatabase(attempt.record, file)
    while database.export():
        pass


def shown(study: optuna.Study) -> list[tuple[Any, ...]]:
    """What a dashboard shows of each trial, but for times."""
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.intermediate_values)
        for t in study.get_trials(deepcopy=False)
        if t.state != OptunaState.WAITING
    ]


def stored(file: Path) -> optuna.Study:
    return optuna.load_study(study_name="toy", storage=sqlite_url(file))


@pytest.mark.parametrize("batch", several(1, [7, 1, 1000]))
def test_it_shows_the_search_while_it_runs_and_when_it_has_ended(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(study_database, "BATCH", batch)
    attempt, file = started(tmp_path), tmp_path / "optuna.db"
    for _ in range(2):
        work(attempt.controller, started_trial(attempt))
    running = started_trial(attempt)
    attempt.controller.epoch(running.trial, EpochMessage(1, {"val/error": 0.4}))
    export(attempt, file)
    assert shown(stored(file)) == shown(attempt.study)
    assert stored(file).trials[2].state == OptunaState.RUNNING
    work(attempt.controller, running, after=1)
    run(attempt)
    export(attempt, file)  # another process: it knows the file and the record alone
    assert shown(stored(file)) == shown(attempt.study)
    assert {t.state for t in stored(file).trials} == {OptunaState.COMPLETE, OptunaState.PRUNED}
    assert stored(file).direction == optuna.study.StudyDirection.MINIMIZE
    assert file.stat().st_mode & 0o77 == 0  # its user alone reads it


def test_a_file_that_was_removed_is_made_anew(tmp_path):
    attempt, file = started(tmp_path), tmp_path / "optuna.db"
    run(attempt)
    export(attempt, file)
    file.unlink()
    export(attempt, file)
    assert shown(stored(file)) == shown(attempt.study)


def test_a_file_that_another_drivers_exporter_passed_over_is_brought_up_to_date(tmp_path):
    """With its record in PostgreSQL a sweep may go on from another folder, and come back."""
    attempt, here, there = started(tmp_path), tmp_path / "optuna.db", tmp_path / "there.db"
    running = started_trial(attempt)
    export(attempt, here)
    work(attempt.controller, running)
    work(attempt.controller, started_trial(attempt))
    export(attempt, there)
    run(attempt)
    export(attempt, here)
    assert shown(stored(here)) == shown(attempt.study)


def test_a_file_that_is_no_database_is_given_up_and_made_anew_by_the_next(tmp_path, caplog):
    attempt, file = started(tmp_path), tmp_path / "optuna.db"
    file.write_text("no database")
    work(attempt.controller, started_trial(attempt))
    export(attempt, file)
    assert "is given up" in caplog.text and not file.exists()
    run(attempt)
    export(attempt, file)
    assert shown(stored(file)) == shown(attempt.study)
