"""What this user may not read: every verb names it with whose it is and what to do, and takes it
neither for lost nor for damaged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from few_kit import crossed
from rights_kit import refused
from verbs_kit import OTHERS, VERBS, line_of, swept

from raysel.cli.main import main
from raysel.common.errors import OperationalError
from raysel.export.export_verb import _refuse_unreadable
from raysel.record.events import Event, Record, sqlite_url
from raysel.record.layout import SweepFolder
from raysel.sweep.views import names

REMEDY = "give yourself the rights: chmod u+rwX"


@pytest.fixture
def a(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    """The sweep `a` in `runs/` of the working folder, with the sweep `b` beside it."""
    monkeypatch.chdir(tmp_path)
    swept(tmp_path / "runs", "b")
    folder = swept(tmp_path / "runs", "a")
    Path("a.yaml").write_text(folder.spec.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


@pytest.mark.parametrize("verb", [*VERBS, *OTHERS])
def test_a_folder_that_may_not_be_looked_into_is_named(
    a: SweepFolder, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with refused(a.path):
        line = line_of(verb, capsys)
        assert names("runs") == ["a", "b"]
    assert "cannot be read (permission denied)" in line
    assert f"{REMEDY} {a.path}" in line or f"{REMEDY} runs/a" in line
    assert main(["show", "a"]) == 0  # nothing was changed


def test_gc_and_the_list_go_on_with_the_others(
    a: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with refused(a.path):
        assert main(["gc", "--yes"]) == 0
        assert "a: stays as it is; " in capsys.readouterr().out
        assert main(["list"]) == 0
        assert "b  " in capsys.readouterr().out
        assert main(["show", "b"]) == 0


def test_what_is_no_sweeps_is_not_taken_for_one(a: SweepFolder) -> None:
    """An ext4 disk has a folder that root alone may read."""
    for name in ("lost+found", "mlartifacts", ".cache"):
        (a.path.parent / name).mkdir()
        with refused(a.path.parent / name):
            assert names("runs") == ["a", "b"]


@pytest.mark.parametrize("verb", [("list",), ("show", "a"), ("gc", "--yes")])
def test_a_storage_that_may_not_be_read_is_named(
    a: SweepFolder, verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with refused(a.path.parent):
        assert main([*verb]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "runs: cannot be read (permission denied)" in line


@pytest.mark.parametrize(
    ("verb", "file"),
    crossed([v for v in VERBS if v != "resume"], ["spec.yaml", "sweep.db", "owner.lock"]),
)
def test_a_file_that_may_not_be_read_is_named_and_not_taken_for_lost(
    a: SweepFolder, verb: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (a.path / file).touch()
    with refused(a.path / file):
        line = line_of(verb, capsys)
    what = "written" if (file, verb) == ("owner.lock", "reconcile") else "read"
    assert f"{file}: cannot be {what} (permission denied)" in line
    assert REMEDY in line
    assert "--from-backup" not in line


@pytest.mark.parametrize("verb", ["report", "export"])
def test_results_that_may_not_be_read_are_not_written_anew(
    a: SweepFolder, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with refused(a.results):
        line = line_of(verb, capsys)
    assert "results.json: cannot be read (permission denied)" in line
    assert REMEDY in line
    assert "raysel resume" not in line


@pytest.mark.parametrize("place", ["", "config.json", "code", "code/own.py"])
def test_a_model_that_may_not_be_read_is_neither_damaged_nor_made_again(
    tmp_path: Path, place: str
) -> None:
    best = tmp_path / "best"
    (best / "code").mkdir(parents=True)
    for file in ("config.json", "code/own.py"):
        (best / file).touch()
    _refuse_unreadable(best)
    with refused(best / place), pytest.raises(OperationalError, match="permission denied") as why:
        _refuse_unreadable(best)
    assert str(why.value).startswith(f"{best / place}".rstrip("/"))
    assert REMEDY in str(why.value)
    shutil.rmtree(best)
    _refuse_unreadable(best)  # that one is lost: the run is made again


@pytest.mark.parametrize(("mode", "what"), [(0o400, "written"), (0o200, "read")])
def test_a_record_says_whether_it_may_not_be_read_or_not_be_written(
    tmp_path: Path, mode: int, what: str
) -> None:
    file = tmp_path / "sweep.db"
    Record(sqlite_url(file)).close()
    with (
        refused(file, mode),
        pytest.raises(OperationalError, match=rf"cannot be {what} \(permission denied\): give"),
    ):
        Record(sqlite_url(file)).append(Event("0000", "epoch", 1, 1.0, {}))


def test_a_record_whose_folder_takes_no_file_names_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    Record(sqlite_url(folder / "sweep.db")).close()
    for log in folder.glob("sweep.db-*"):
        log.unlink()
    with refused(folder, 0o500), pytest.raises(OperationalError, match=r"chmod u\+rwX \S+/a$"):
        Record(sqlite_url(folder / "sweep.db")).append(Event("0000", "epoch", 1, 1.0, {}))


def test_what_is_anothers_names_its_owner(
    a: SweepFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = a.path.owner()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with refused(a.path):
        line = line_of("show", capsys)
    assert f"{a.path.name} belongs to {owner}; run raysel as {owner}, or let {owner} give" in line
