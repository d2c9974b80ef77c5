"""Sweeps as a visitor reads them: their true state, and what cannot be read in one line."""

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest
from view_kit import FINISHED, ended, epoch, make, started

from raysel.common.errors import OperationalError, UserError
from raysel.record.ownership import FileOwner
from raysel.report.review import sweep_row
from raysel.sweep.backup import copy
from raysel.sweep.views import LEFT, names, read_all, read_sweep


def test_a_finished_sweep_is_complete_with_its_best_and_verdict(tmp_path):
    make(
        tmp_path,
        "a",
        *(started("0000", 0), epoch("0000", 1, 0.5), ended("0000", "COMPLETE", 0.5)),
        *(started("0001", 1, "probe"), ended("0001", "COMPLETE", 0.25)),
        *(started("0002", 2), ended("0002", "PRUNED", 0.125)),
        FINISHED,
    )
    row = sweep_row(read_sweep(str(tmp_path), "a"))
    assert (row.state, row.done, row.trials, row.verdict) == ("COMPLETE", 3, 3, "full.")
    assert (row.best, row.best_trial) == (0.25, "0001")  # a pruned one is none


def test_a_sweep_whose_driver_died_is_interrupted_with_its_trials(tmp_path):
    make(tmp_path, "a", started("0000", 0), epoch("0000", 1, 0.5))
    view = read_sweep(str(tmp_path), "a")
    assert (view.sweep.status, view.sweep.cause) == ("INTERRUPTED", LEFT)
    assert [(t.status, t.cause) for t in view.trials] == [("INTERRUPTED", LEFT)]
    assert sweep_row(view).trials == 40  # as the file says


def test_a_sweep_that_somebody_runs_is_running(tmp_path):
    folder = make(tmp_path, "a", started("0000", 0))
    owner = FileOwner(folder.lock, "a")
    try:
        view = read_sweep(str(tmp_path), "a")
    finally:
        owner.release()
    assert view.sweep.status == "RUNNING" and view.trials[0].status == "RUNNING"
    assert sweep_row(view).running and str(os.getpid()) in sweep_row(view).running
    assert read_sweep(str(tmp_path), "a").sweep.status == "INTERRUPTED"


def test_an_ended_sweep_that_reconcile_holds_is_complete(tmp_path):
    folder = make(tmp_path, "a", FINISHED)
    owner = FileOwner(folder.lock, "a")
    try:
        row = sweep_row(read_sweep(str(tmp_path), "a"))
    finally:
        owner.release()
    assert row.state == "COMPLETE" and str(os.getpid()) in row.running


def test_results_of_a_complete_sweep_that_are_cut_off_are_a_problem(tmp_path):
    folder = make(tmp_path, "a", FINISHED)
    folder.results.write_text('{"name": "a", "tri', encoding="utf-8")
    (problem,) = read_sweep(str(tmp_path), "a").problems
    assert problem.startswith(f"{folder.results}: cannot be read: ")
    assert problem.endswith(f"; write it anew with: raysel resume a --storage {tmp_path}")


WINNER = {"name": "a", "trials": [], "verdict": {"winner": "full"}}
WINNER["confirm"] = [{"strategy": "full", "runs": [{"id": "confirm-full-s0"}]}]


@pytest.mark.parametrize(
    ("lay", "found"),
    [
        (lambda best: None, "has no model: model.safetensors is not there"),
        (lambda best: best.rmdir(), "is not there"),
        (lambda best: (best / "model.safetensors").write_bytes(b""), "model.safetensors is empty"),
        (
            lambda best: (
                (best / "model.safetensors").write_bytes(b"x"),
                (best / "config.json").write_text('{"raysel": {"sweep": "another-1"}}'),
            ),
            "is the model of the sweep another-1",
        ),
    ],
)
def test_a_best_model_that_is_lost_or_anothers_is_a_problem(tmp_path, lay, found):
    folder = make(tmp_path, "a", FINISHED)
    folder.results.write_text(json.dumps(WINNER), encoding="utf-8")
    folder.best.mkdir()
    lay(folder.best)
    view = read_sweep(str(tmp_path), "a")
    view = replace(view, sweep=replace(view.sweep, id="a-1"))
    (problem,) = [line for line in view.problems if line.startswith(str(folder.best))]
    assert found in problem and problem.endswith(f"raysel resume a --storage {tmp_path}")


def test_a_damaged_sweep_file_has_a_way_back(tmp_path):
    folder = make(tmp_path, "torn", FINISHED)
    folder.spec.write_text("name: [", encoding="utf-8")
    with pytest.raises(UserError) as reported:
        read_sweep(str(tmp_path), "torn")
    assert reported.value.problems[-1].message.endswith(
        "; raysel wrote it, and sweep.db has it whole: remove it, then raysel resume torn"
        f" --storage {tmp_path} writes it anew"
    )


def test_a_visitor_leaves_everything_as_it_is(tmp_path):
    folder = make(tmp_path, "a", FINISHED)
    before = {p.name: p.read_bytes() for p in folder.path.iterdir()}
    read_sweep(str(tmp_path), "a")
    after = {p.name: p.read_bytes() for p in folder.path.iterdir()}
    assert {name: after[name] for name in before} == before
    assert {name for name in after if not name.startswith("sweep.db-")} == set(before)


def test_what_cannot_be_read_is_one_line_and_the_others_are_reported(tmp_path):
    make(tmp_path, "good", FINISHED)
    make(tmp_path, "noise").record.write_bytes(b"not a database" * 100)
    other = make(tmp_path, "foreign").record
    other.unlink()
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE something (x)")
    make(tmp_path, "gone").record.unlink()
    make(tmp_path, "torn").spec.write_text("name: [", encoding="utf-8")
    flipped = make(tmp_path, "flipped")
    with sqlite3.connect(flipped.record) as connection:
        connection.execute("UPDATE events SET payload = replace(payload, 'stem', 'stum')")
    (tmp_path / "not-a-sweep").mkdir()
    found = dict(read_all(str(tmp_path), cells=True))
    assert set(found) == {"good", "noise", "foreign", "gone", "torn", "flipped"}
    lines = {name: line for name, line in found.items() if isinstance(line, str)}
    assert set(lines) == set(found) - {"good"}
    assert all("\n" not in line for line in lines.values())
    assert "is damaged" in lines["noise"] and "not a record of raysel's" in lines["foreign"]
    assert "is not there" in lines["gone"] and "is not YAML" in lines["torn"]
    assert "is not the one that was written" in lines["flipped"]
    with sqlite3.connect(other) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("something",)], "a foreign database got tables"


def test_a_wrong_name_is_answered_with_the_nearest(tmp_path):
    make(tmp_path, "digits", started("0007", 7))
    with pytest.raises(UserError, match='did you mean "digits"'):
        read_sweep(str(tmp_path), "digit")
    view = read_sweep(str(tmp_path), "digits")
    assert view.trial("7").id == view.trial("0007").id == "0007"
    with pytest.raises(UserError, match='did you mean "0007"'):
        view.trial("0017")


def test_a_storage_that_is_not_there_holds_nothing(tmp_path):
    assert names(str(tmp_path / "none")) == []
    with pytest.raises(UserError):
        read_sweep(str(tmp_path / "none"), "a")


def test_a_record_that_is_gone_is_failure_and_not_made(tmp_path):
    folder = make(tmp_path, "a")
    folder.record.unlink()
    with pytest.raises(OperationalError):
        read_sweep(str(tmp_path), "a")
    assert not folder.record.exists()


def test_reading_a_sweep_imports_nothing_heavy():
    code = (
        "import sys, raysel.report.review, raysel.sweep.views, raysel.sweep.gc;"
        "import json; print(json.dumps(sorted({'torch', 'ray', 'mlflow', 'optuna'}"
        " & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_path_may_hold_what_means_something_in_a_uri(tmp_path):
    folder = make(tmp_path / "a#b?c%20d ü", "a", started("0000", 0))
    assert [t.id for t in read_sweep(str(folder.path.parent), "a").trials] == ["0000"]
    copy(folder.record, folder.backup)
    assert folder.backup.is_file()
