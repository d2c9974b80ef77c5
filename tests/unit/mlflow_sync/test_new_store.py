"""A SQLite store of MLflow's is there whole, or not there."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysel.common.locations import sqlite_url
from raysel.mlflow_sync import new_store
from raysel.mlflow_sync.new_store import ensure_store


class Maker:
    """In MLflow's place: makes a table, and dies before the next one as often as it is asked to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, deaths: int = 0) -> None:
        self.deaths, self.calls = deaths, 0
        monkeypatch.setattr(new_store, "SqlAlchemyStore", self._make)
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
