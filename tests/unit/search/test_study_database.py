"""Optuna's study as a database, exported from the record for dashboards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from ledger_kit import Life, begin, run, sweep, work
from optuna.trial import TrialState as OptunaState

from raysel.engine.tune import Assignment
from raysel.record.events import SWEEP, Event, sqlite_url
from raysel.search import study_database
from raysel.search.study_database import StudyDatabase


def started(folder: Path) -> Life:
    life = begin(folder, sweep("pruner.compare=all"))
    payload = {"name": "toy", "objective": {"metric": "val/error", "mode": "min"}}
    life.record.append(Event(SWEEP, "sweep", 0, 1.0, payload))
    return life


def started_trial(life: Life) -> Assignment:
    assignment = life.ledger.next_trial()
    assert assignment is not None
    return assignment


def export(life: Life, file: Path) -> None:
    database = StudyDatabase(life.record, file)
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


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_it_shows_the_search_while_it_runs_and_when_it_has_ended(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(study_database, "BATCH", batch)
    life, file = started(tmp_path), tmp_path / "optuna.db"
    for _ in range(2):
        work(life.ledger, started_trial(life))
    running = started_trial(life)
    life.ledger.epoch(running.trial, 1, {"val/error": 0.4})
    export(life, file)
    assert shown(stored(file)) == shown(life.study)
    assert stored(file).trials[2].state == OptunaState.RUNNING
    work(life.ledger, running, after=1)
    run(life)
    export(life, file)  # another process: it knows the file and the record alone
    assert shown(stored(file)) == shown(life.study)
    assert {t.state for t in stored(file).trials} == {OptunaState.COMPLETE, OptunaState.PRUNED}
    assert stored(file).direction == optuna.study.StudyDirection.MINIMIZE
    assert file.stat().st_mode & 0o77 == 0  # its user alone reads it


def test_a_file_that_was_removed_is_made_anew(tmp_path):
    life, file = started(tmp_path), tmp_path / "optuna.db"
    run(life)
    export(life, file)
    file.unlink()
    export(life, file)
    assert shown(stored(file)) == shown(life.study)


def test_a_file_that_is_no_database_is_given_up_and_made_anew_by_the_next(tmp_path, caplog):
    life, file = started(tmp_path), tmp_path / "optuna.db"
    file.write_text("no database")
    work(life.ledger, started_trial(life))
    export(life, file)
    assert "is given up" in caplog.text and not file.exists()
    run(life)
    export(life, file)
    assert shown(stored(file)) == shown(life.study)
