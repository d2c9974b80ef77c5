"""A suite's cells end one by one; what fails or is stopped is the cell's, and resume goes on."""

from __future__ import annotations

import os
import shutil
import signal
from unittest.mock import MagicMock

import pytest
import suite_session_kit as kit

from raysel.common.errors import UserError
from raysel.record.events import SWEEP, Record, sqlite_url
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.record.state import fold
from raysel.sweep import start
from raysel.sweep.suite_folder import read_suite


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch):
    kit.without_ray(monkeypatch)


def states(storage) -> dict[str, str]:
    view = read_suite(str(storage), "suite")
    return {cell.cell.name: cell.state for cell in view.cells}


def kinds(storage, cell: str) -> list[str]:
    record = SweepFolder(storage / "suite" / cell).record
    return [event.kind for event in read_events(sqlite_url(record)) if event.trial == SWEEP]


def trials(storage, cell: str) -> int:
    record = SweepFolder(storage / "suite" / cell).record
    return sum(t.phase == "search" for t in fold(read_events(sqlite_url(record))).values())


def fails_in(cell: str, error: Exception):
    def publish(outcome):
        if outcome.folder.name == f"suite/{cell}":
            raise error
        return outcome

    return publish


def test_every_cell_ends_with_results_of_its_own(tmp_path):
    reporter = MagicMock()
    outcome = kit.run(tmp_path, reporter)
    assert (outcome.complete, outcome.failed, outcome.cause) == (2, {}, None)
    assert states(tmp_path) == {"shots1": "COMPLETE", "shots2": "COMPLETE"}
    assert (tmp_path / "suite" / "shots1" / "results.json").is_file()
    ended = [call.args[0] for call in reporter.cell_ended.call_args_list]
    assert ended == ["suite/shots1", "suite/shots2"]


def test_a_cell_that_fails_has_its_line_and_the_others_go_on(tmp_path):
    error = UserError(*[])
    error.args = ("task.data: not what the file says",)
    outcome = kit.run(tmp_path, None, fails_in("shots1", error))
    assert outcome.failed == {"shots1": "task.data: not what the file says"}
    assert states(tmp_path) == {"shots1": "INTERRUPTED", "shots2": "COMPLETE"}


def test_resume_leaves_ended_cells_alone_and_goes_on_with_the_others(tmp_path):
    kit.run(tmp_path, None, fails_in("shots1", UserError()))
    outcome = kit.resume(tmp_path)
    assert (outcome.complete, outcome.failed) == (2, {})
    assert kinds(tmp_path, "shots2") == ["sweep", "finished"]
    assert kinds(tmp_path, "shots1").count("resumed") == 1


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_a_cell_whose_driver_was_killed_before_its_file_was_written_begins_anew(tmp_path, whole):
    kit.run(tmp_path, None, fails_in("shots1", UserError()))
    folder = SweepFolder(tmp_path / "suite" / "shots1")
    shutil.rmtree(folder.path)
    folder.path.mkdir()
    if whole:  # the tables are there, no event is
        Record(sqlite_url(folder.record)).close()
    else:
        folder.record.touch()
    assert states(tmp_path)["shots1"] == "NOT BEGUN"
    outcome = kit.resume(tmp_path)
    assert (outcome.complete, outcome.failed) == (2, {})
    assert kinds(tmp_path, "shots1") == ["sweep", "finished"]


@pytest.mark.slow
def test_a_cell_that_lost_its_file_and_record_but_no_trial_does_not_begin_anew(tmp_path):
    kit.run(tmp_path)
    folder = SweepFolder(tmp_path / "suite" / "shots1")
    for path in (folder.spec, folder.record, folder.backup):
        path.unlink(missing_ok=True)
    folder.record.touch()
    outcome = kit.resume(tmp_path)
    assert outcome.complete == 1
    assert "neither sweep.db nor sweep.backup.db has it" in outcome.failed["shots1"]


@pytest.mark.slow
def test_an_error_of_raysels_own_is_raised_when_the_other_cells_are_done(tmp_path):
    with pytest.raises(ZeroDivisionError):
        kit.run(tmp_path, None, fails_in("shots1", ZeroDivisionError("a bug")))
    assert states(tmp_path)["shots2"] == "COMPLETE"


@pytest.mark.slow
def test_a_suite_that_is_stopped_leaves_the_rest_for_resume(tmp_path):
    reporter = MagicMock()
    reporter.cell_ended.side_effect = lambda *_: os.kill(os.getpid(), signal.SIGINT)
    outcome = kit.run(tmp_path, reporter)
    assert outcome.cause == "stopped by Ctrl-C"
    assert states(tmp_path) == {"shots1": "COMPLETE", "shots2": "INTERRUPTED"}
    assert kit.resume(tmp_path).complete == 2


@pytest.mark.slow
def test_overrides_extend_every_cell(tmp_path):
    kit.run(tmp_path)
    before = trials(tmp_path, "shots1")
    outcome = kit.resume(tmp_path, "search.num_trials=5")
    assert outcome.complete == 2
    assert [trials(tmp_path, cell) for cell in ("shots1", "shots2")] == [before + 2] * 2


@pytest.mark.slow
def test_what_would_change_the_results_meaning_is_refused_for_all_cells_at_once(tmp_path):
    kit.run(tmp_path)
    with pytest.raises(UserError, match=r"training\.epochs: 2 in the sweep, 3 now"):
        kit.resume(tmp_path, "training.epochs=3")


@pytest.mark.slow
def test_a_file_with_more_values_adds_cells_and_a_second_run_is_refused(tmp_path):
    def run(shots: str, again: bool):
        sets = (f"axes.training.shots={shots}", "task.split.train=40")
        return kit.run(tmp_path, None, lambda outcome: outcome, *sets, again=again)

    run("[1, 2]", again=False)
    with pytest.raises(UserError, match=r'a suite named "suite" exists \(2 of 2 cells complete\)'):
        run("[1, 2]", again=False)
    with pytest.raises(UserError, match="no cell shots2, which has begun"):
        run("[1]", again=True)
    outcome = run("[3, 2, 1]", again=True)
    assert (outcome.cells, outcome.complete, outcome.failed) == (3, 3, {})
    assert kinds(tmp_path, "shots1") == ["sweep", "finished"]


@pytest.mark.slow
def test_a_cell_that_has_not_begun_is_begun_by_its_name_and_the_suite_takes_it_up(tmp_path):
    kit.run(tmp_path)
    shutil.rmtree(tmp_path / "suite" / "shots2")
    assert states(tmp_path) == {"shots1": "COMPLETE", "shots2": "NOT BEGUN"}
    outcome = start.resume(str(tmp_path), "suite/shots2", MagicMock(), lambda given: given)
    assert outcome.complete
    assert (states(tmp_path)["shots2"], kinds(tmp_path, "shots2")) == (
        "COMPLETE",
        ["sweep", "finished"],
    )
    assert kit.resume(tmp_path).complete == 2
    with pytest.raises(UserError, match=r"there is no sweep of that name.*shots2"):
        start.resume(str(tmp_path), "suite/shots3", MagicMock(), lambda given: given)
