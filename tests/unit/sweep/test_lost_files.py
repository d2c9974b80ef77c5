"""A sweep's record, sweep file or results that are gone, emptied or another sweep's: each verb says
so in one line with the way on, and none takes one sweep's files for another's."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from few_kit import crossed, several
from sqlalchemy import exc
from verbs_kit import VERBS, line_of, swept
from view_kit import make

from raysel.cli.main import main
from raysel.common.errors import OperationalError, UserError
from raysel.common.locations import sqlite_url
from raysel.record.database import translate_db_errors
from raysel.record.layout import SweepFolder, write_json
from raysel.record.ownership import FileOwner
from raysel.spec.reader import load
from raysel.sweep import start
from raysel.sweep.backup import copy, restore
from raysel.sweep.views import names, read_all


@pytest.fixture
def a(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    """The sweep `a` in `runs/` of the working folder, with the sweep `b` beside it."""
    monkeypatch.chdir(tmp_path)
    swept(tmp_path / "runs", "b")
    return swept(tmp_path / "runs", "a")


# --- the record ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", several(3, VERBS))
def test_another_sweeps_record_is_named_with_both(
    a: SweepFolder, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(a.path.with_name("b") / "sweep.db", a.record)
    line = line_of(verb, capsys)
    assert "the record of the sweep b-1" in line
    assert "the folder of a-1" in line
    assert "raysel resume a --from-backup" in line


@pytest.mark.parametrize(
    ("verb", "action"),
    crossed(VERBS, ["removed", "emptied", "cleared", "a folder", "a stranger's"]),
)
def test_a_lost_record_is_reported_with_its_copy(
    a: SweepFolder, action: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    a.record.unlink()
    if action == "emptied":
        a.record.touch()
    if action == "cleared":  # tables without a row
        fresh = make(a.path, "fresh")
        fresh.record.replace(a.record)
        with sqlite3.connect(a.record) as connection:
            connection.execute("DELETE FROM events")
    if action == "a folder":
        a.record.mkdir()
    if action == "a stranger's":
        with sqlite3.connect(a.record) as connection:
            connection.execute("CREATE TABLE notes (text)")
    line = line_of(verb, capsys)
    assert "sweep.db: " in line
    assert "raysel resume a --from-backup" in line


@pytest.mark.parametrize("action", ["removed", "a stranger's", "damaged"])
def test_without_a_copy_it_says_so(
    a: SweepFolder, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    a.record.unlink()
    a.backup.unlink()
    if action == "a stranger's":
        with sqlite3.connect(a.record) as connection:
            connection.execute("CREATE TABLE notes (text)")
    if action == "damaged":
        a.record.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    line = line_of("show", capsys)
    assert "there is no copy (sweep.backup.db)" in line
    assert "--from-backup" not in line
    assert "raysel rm a" in line


def test_folders_of_an_older_raysel_are_compared_by_name(
    a: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    a.manifest.unlink()
    a.results.unlink()
    assert main(["show", "a"]) == 0
    shutil.copy(a.path.with_name("b") / "sweep.db", a.record)
    line = line_of("show", capsys)
    assert "the record of the sweep b-1" in line
    assert "the folder of a" in line


def test_another_sweeps_copy_is_not_restored(a: SweepFolder) -> None:
    shutil.copy(a.path.with_name("b") / "sweep.backup.db", a.backup)
    before = a.record.read_bytes()
    with pytest.raises(OperationalError, match="the record of the sweep b-1"):
        restore(a)
    assert a.record.read_bytes() == before


def test_rm_takes_a_sweep_whose_record_is_lost(a: SweepFolder) -> None:
    a.record.unlink()
    assert main(["rm", "a", "--yes"]) == 0
    assert not a.path.exists()


# --- the sweep file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "action"), crossed([v for v in VERBS if v != "resume"], ["removed", "emptied"])
)
def test_a_lost_sweep_file_is_reported_with_who_has_it(
    a: SweepFolder, action: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    a.spec.unlink()
    if action == "emptied":
        a.spec.touch()
    line = line_of(verb, capsys)
    assert "spec.yaml: is" in line
    assert "sweep.db" in line
    assert "raysel resume a" in line


def test_another_sweeps_file_is_reported(
    a: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(a.path.with_name("b") / "spec.yaml", a.spec)
    line = line_of("show", capsys)
    assert "spec.yaml: is the file of the sweep b" in line
    assert "that of a;" in line
    assert "raysel resume a" in line


def test_a_file_whose_model_was_edited_by_hand_is_reported(
    a: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    text = a.spec.read_text()
    model = yaml.safe_load(text)["model"]["name"]
    a.spec.write_text(text.replace(f"name: {model}", "name: resnet26"))
    line = line_of("show", capsys)
    assert f"spec.yaml: has the model resnet26, and the sweep was run with {model};" in line
    assert "remove the file; it is written anew by: raysel resume a" in line
    a.spec.write_text(text.replace("head: linear", "head: mlp"))
    assert "spec.yaml: has another model section" in line_of("show", capsys)


class Reached(Exception):
    """The sweep would go on."""


def test_resume_writes_it_anew(a: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(a.spec)
    a.spec.unlink()

    def session(*_: object) -> None:
        raise Reached

    monkeypatch.setattr(start, "run_session", session)
    with pytest.raises(Reached):
        main(["resume", "a"])
    assert load(a.spec) == before


def test_run_does_not_begin_over_a_sweep_whose_file_is_lost(
    a: SweepFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a.spec.rename(tmp_path / "a.yaml")
    assert main(["run", "a.yaml"]) == 1
    assert "raysel resume a" in capsys.readouterr().err


def test_the_copy_of_the_record_has_it_too(
    a: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    a.spec.unlink()
    a.record.unlink()
    assert "sweep.backup.db" in line_of("show", capsys)


@pytest.mark.parametrize("verb", ["show", "resume", "list"])
def test_a_folder_in_which_nothing_has_begun_is_reported_with_the_way_on(
    a: SweepFolder, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(a.path)
    a.path.mkdir()
    a.record.touch()  # as a full disk leaves it
    assert "begin it with raysel run FILE" in line_of(verb, capsys)


def test_what_a_full_disk_leaves_is_gone_on_with(a: SweepFolder) -> None:
    url = sqlite_url(a.record)
    full = exc.OperationalError("", {}, sqlite3.OperationalError("database or disk is full"))
    with (
        pytest.raises(OperationalError, match=r"make space, then go on: raysel resume a$"),
        translate_db_errors(url),
    ):
        raise full
    a.spec.unlink()  # nothing has begun: there is nothing to resume
    with (
        pytest.raises(OperationalError, match=r"make space, then go on: raysel run FILE$"),
        translate_db_errors(url),
    ):
        raise full


# --- results.json --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "text"),
    crossed(["report", "export"], ["", " \n", "{", "[1]", json.dumps({"sweep_id": "b-1"})]),
)
def test_lost_results_are_reported_with_the_way_on(
    a: SweepFolder, text: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    a.results.write_text(text, encoding="utf-8")
    line = line_of(verb, capsys)
    assert "results.json" in line
    assert "raysel resume a" in line


@pytest.mark.parametrize("text", ["{}", '{"confirm": 4, "trials": "x", "objective": []}'])
@pytest.mark.parametrize("sweeps", [("a",), ("a", "b")])
def test_results_that_cannot_be_shown_are_one_line(
    a: SweepFolder, text: str, sweeps: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    a.results.write_text(text, encoding="utf-8")
    assert main(["report", *sweeps]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a/results.json" in line
    assert "raysel resume a" in line


def test_results_of_a_complete_sweep_are_lost_and_not_yet_to_come(
    a: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    a.results.unlink()
    line = line_of("report", capsys)
    assert "results.json: is not there; write it anew with: raysel resume a" in line


def test_a_record_on_a_disk_that_is_away_says_where_it_was(a, capsys):
    a.record.unlink()
    a.record.symlink_to("/unmounted/sweep.db")
    assert "is a link to /unmounted/sweep.db, which is not there; go on" in line_of("show", capsys)


def test_a_folder_in_the_place_of_the_sweep_file_is_written_anew(a, monkeypatch, capsys):
    a.spec.unlink()
    a.spec.mkdir()
    line = line_of("show", capsys)
    assert "spec.yaml: is a folder; it is written anew from sweep.db by: raysel resume a" in line

    def session(*_: object) -> None:
        raise Reached

    monkeypatch.setattr(start, "run_session", session)
    with pytest.raises(Reached):
        main(["resume", "a"])
    assert a.spec.is_file()


# --- the lock ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [*VERBS, "rm"])
@pytest.mark.parametrize(("lay", "what"), [(os.mkfifo, "a named pipe"), (os.mkdir, "a folder")])
def test_what_is_no_lock_is_never_waited_for(
    a: SweepFolder,
    lay: Callable[[Path], None],
    what: str,
    verb: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lay(a.lock)
    line = line_of(verb, capsys)
    assert f"owner.lock: is {what}" in line
    assert "remove it" in line
    with pytest.raises(OperationalError, match="remove it"):
        FileOwner(a.lock, "a")


# --- the folder ----------------------------------------------------------------------------------


def test_the_old_name_of_a_renamed_folder_leads_to_the_new_one(
    a: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    a.path.rename(a.path.with_name("other"))
    assert main(["resume", "a"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "called other in runs/" in line
    assert main(["show", "other"]) == 0


@pytest.mark.parametrize(
    ("verb", "target"),
    crossed([*VERBS, "stop", "run"], ["../unmounted/a", "a"]),  # a leads to itself
)
def test_a_link_to_nowhere_is_named_with_where_it_leads(
    a: SweepFolder, verb: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.yaml").write_text(a.spec.read_text(encoding="utf-8"), encoding="utf-8")
    shutil.rmtree(a.path)
    a.path.symlink_to(target)
    line = line_of(verb, capsys)
    assert f"is a link to {target}, which is not there" in line
    assert "raysel rm a" in line
    assert main(["rm", "a", "--yes"]) == 0
    assert sorted(path.name for path in a.path.parent.iterdir()) == ["b"]


def test_what_lies_beside_the_sweeps_is_none(a: SweepFolder) -> None:
    for name in ("mlflow.db", "mlartifacts", ".cache"):
        (a.path.parent / name).symlink_to("nowhere")
    assert names("runs") == ["a", "b"]


def test_gc_leaves_a_link_to_nowhere(a: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    link = a.path.with_name("linked")
    link.symlink_to("nowhere")
    assert main(["gc", "--yes"]) == 0
    assert "linked: stays as it is" in capsys.readouterr().out
    assert link.is_symlink()


@pytest.mark.parametrize("verb", [("list",), ("show", "a"), ("gc", "--yes")])
def test_a_file_is_no_storage(
    a: SweepFolder, verb: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    Path("link").symlink_to("unmounted")
    for place, words in (("file", "is a file"), ("link", "is a link to unmounted")):
        assert main([*verb, "--storage", place]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "--storage: " in line
        assert words in line


@pytest.mark.parametrize("damaged", [False, True])
def test_a_copy_that_cannot_be_made_leaves_nothing(tmp_path: Path, damaged: bool) -> None:
    """The folder was renamed, say, and a worker has made the old name again."""
    record, backup = tmp_path / "sweep.db", tmp_path / "sweep.backup.db"
    if damaged:
        record.write_bytes(b"no database" * 100)
    before = set(tmp_path.iterdir())
    with pytest.raises(sqlite3.Error):
        copy(record, backup)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("verb", several(3, VERBS))
def test_a_pipe_in_the_place_of_the_sweep_file_is_never_waited_for(a, capsys, verb):
    a.spec.unlink()
    os.mkfifo(a.spec)
    if verb == "list":
        assert "spec.yaml" in line_of(verb, capsys)
        return
    assert main(VERBS[verb]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "spec.yaml: cannot be read: it is a named pipe" in line


@pytest.mark.parametrize("lay", [os.mkfifo, lambda path: path.symlink_to(path.name)])
@pytest.mark.parametrize("verb", ["report", "export"])
def test_a_pipe_or_a_link_to_itself_in_the_place_of_the_results_is_one_line(a, capsys, verb, lay):
    a.results.unlink()
    lay(a.results)
    line = line_of(verb, capsys)
    assert "results.json: cannot be read" in line
    assert "raysel resume a" in line


NOT_UTF8 = os.fsdecode(b"c\xff")


def test_a_sweep_folder_whose_name_is_not_utf8_is_a_line_and_the_others_are_listed(tmp_path):
    swept(tmp_path / "runs", "good")
    swept(tmp_path / "runs", "other")
    (tmp_path / "runs" / "other").rename(tmp_path / "runs" / NOT_UTF8)
    found = dict(read_all(str(tmp_path / "runs"), cells=True))
    assert set(found) == {"good", r"c\xff"}
    assert found[r"c\xff"] == "the folder's name is not UTF-8: rename it, and it is a sweep again"


def test_a_storage_whose_path_is_not_utf8_is_refused(tmp_path):
    (tmp_path / NOT_UTF8).mkdir()
    with pytest.raises(UserError, match=r"c\\xff is not UTF-8; rename the folder"):
        list(read_all(str(tmp_path / NOT_UTF8), cells=True))


def test_a_folder_in_the_place_of_a_file_is_set_aside_when_the_file_is_written(tmp_path):
    (tmp_path / "results.json" / "mine").mkdir(parents=True)
    write_json(tmp_path / "results.json", {"a": 1})
    assert json.loads((tmp_path / "results.json").read_text()) == {"a": 1}
    (aside,) = tmp_path.glob("results.json.damaged-*")
    assert (aside / "mine").is_dir()
