"""A SQLite store of MLflow's is there whole, or not there, at every path that a folder may have."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from few_kit import several

from raysel.common.locations import mlflow_uri, sqlite_file, sqlite_url
from raysel.common.tracking_uri import mlflow_hint
from raysel.mlflow_sync import store
from raysel.mlflow_sync.store import client, ensure_store, readable_uri
from raysel.record.events import Event, Record
from raysel.record.read_only import read_events


class Maker:
    """In MLflow's place: makes a table, and dies before the next one as often as it is asked to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, deaths: int = 0) -> None:
        self.deaths, self.calls = deaths, 0
        monkeypatch.setattr(store, "SqlAlchemyStore", self._make)
        self.engine: Any = SimpleNamespace(dispose=lambda: None)

    def _make(self, uri: str, root: str) -> Maker:
        self.file = uri.removeprefix("sqlite:///")
        self.calls += 1
        with sqlite3.connect(self.file) as database:
            database.execute("CREATE TABLE first (x)")
            if self.calls <= self.deaths:
                raise OSError(28, "No space left on device")
            database.execute("CREATE TABLE second (x)")
        return self


def tables(file: Path) -> list[str]:
    with sqlite3.connect(file) as database:
        return [name for (name,) in database.execute("SELECT name FROM sqlite_master")]


def test_what_was_begun_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file, maker = tmp_path / "runs" / "mlflow.db", Maker(monkeypatch, deaths=1)
    with pytest.raises(OSError, match="No space"):
        ensure_store(sqlite_url(file))
    assert not file.exists()
    ensure_store(sqlite_url(file))
    assert tables(file) == ["first", "second"]
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]
    ensure_store(sqlite_url(file))
    assert maker.calls == 2


def test_an_emptied_one_is_made_anew_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file, link = tmp_path / "disk" / "mlflow.db", tmp_path / "mlflow.db"
    file.parent.mkdir()
    file.touch()
    link.symlink_to(file)
    Maker(monkeypatch)
    ensure_store(sqlite_url(link))
    assert link.is_symlink()
    assert tables(file) == ["first", "second"]


def test_nothing_is_made_behind_a_link_to_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    link, maker = tmp_path / "mlflow.db", Maker(monkeypatch)
    link.symlink_to(tmp_path / "unmounted" / "mlflow.db")
    ensure_store(sqlite_url(link))
    assert (maker.calls, list(tmp_path.iterdir())) == (0, [link])


def test_two_that_begin_at_once_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file, maker = tmp_path / "mlflow.db", Maker(monkeypatch)
    both = [threading.Thread(target=ensure_store, args=[sqlite_url(file)]) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(10)
    assert maker.calls == 1
    assert tables(file) == ["first", "second"]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "postgresql://user@127.0.0.1:9/mlflow"])
def test_a_store_behind_a_server_is_its_own_affair(uri: str, monkeypatch: pytest.MonkeyPatch):
    maker = Maker(monkeypatch)
    ensure_store(uri)
    assert maker.calls == 0


NAMES = (
    *("jürgen", "名前 a", "a b+c", "100%", "50%20off", "#1", "what?", "a&b=c", "it's", 'say "hi"'),
    *("{x}", "a;b", "[1]", "~", "$HOME", "back\\slash", "a@b:c", "%", "%C3%BC", "!*()"),
)


@pytest.mark.parametrize("name", NAMES)
def test_both_urls_of_a_path_name_that_path(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "a.db"
    assert sqlite_file(sqlite_url(file)) == file
    assert sqlite_file(mlflow_uri(file)) == file


@pytest.mark.parametrize("name", NAMES)
def test_a_record_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "sweep.db"
    file.parent.mkdir()
    record = Record(sqlite_url(file))
    record.append(Event("0000", "epoch", 1, 0.0))
    record.close()
    assert file.is_file()
    assert len(read_events(sqlite_url(file))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "name", several(1, [*reversed(["jürgen a", "50%20off", "what? #1", """it's "{x}"&b=c+d"""])])
)
def test_mlflow_keeps_runs_and_files_in_a_folder_of_any_name(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)  # MLflow's own default for artifacts lies there
    uri = mlflow_uri(folder / "mlflow.db")
    ensure_store(uri)
    ours = client(uri)
    experiment = ours.create_experiment("e", artifact_location=(folder / "art").as_uri())
    run = ours.create_run(experiment).info.run_id
    ours.log_text(run, "text", "selection/note.txt")
    assert (folder / "art" / run / "artifacts" / "selection" / "note.txt").is_file()
    assert (folder / "mlflow.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]  # no twin with an escaped name


def test_a_folder_whose_parent_cannot_be_written_is_enough(tmp_path: Path) -> None:
    """MLflow would make the escaped name beside it, and be away for ever."""
    for name in ("jürgen", "50%20off"):
        path = readable_uri(mlflow_uri(_made(tmp_path / name))).removeprefix("sqlite:///")
        assert Path(path).parent.is_dir()


def test_the_command_that_opens_mlflow_is_one_for_a_shell(tmp_path: Path) -> None:
    for name in ("plain", "jürgen's a&b", "50%20off", "what?"):
        folder = tmp_path / name
        folder.mkdir()
        hint = mlflow_hint(mlflow_uri(folder / "mlflow.db"))
        shown = hint.replace("mlflow ui --backend-store-uri", "printf '%s\\n%s' \"$PWD\"")
        reported = subprocess.run(
            ["sh", "-c", shown], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        where, uri = reported.stdout.split("\n")
        path = uri.removeprefix("sqlite:///")
        assert Path(os.path.normpath(Path(where) / path)) == folder / "mlflow.db"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder / "mlflow.db"
