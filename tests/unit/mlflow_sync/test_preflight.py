"""Whether MLflow takes records, without a server (with one: `tests/integration/test_doctor.py`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from raysel.common.errors import OperationalError
from raysel.export.mlflow_registry import register
from raysel.mlflow_sync import preflight
from raysel.mlflow_sync.audit import Audit
from raysel.mlflow_sync.client import MlflowStore
from raysel.mlflow_sync.error_messages import mlflow_errors
from raysel.mlflow_sync.preflight import examine
from raysel.record.state import SweepState
from raysel.service.doctor.sweep_checks import check_tracker


def line(uri: str) -> str:
    """What the doctor says."""
    (found,) = check_tracker(uri, vars(examine(uri, "x")), mlflow.__version__)
    return found.line()


def store(path: Path, revision: str) -> str:
    """The address of a SQLite store whose tables are of a revision."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    connection.close()
    return f"sqlite:///{path}"


def test_a_store_of_a_newer_mlflow_is_found(tmp_path):
    uri = store(tmp_path / "mlflow.db", "f" * 12)
    assert line(uri) == (
        f"error    mlflow: {uri} has the tables of an MLflow newer than MLflow "
        f"{mlflow.__version__} (schema {'f' * 12}). Install that one here"
    )


def test_a_store_of_an_older_mlflow_is_found(tmp_path):
    oldest = "451aebb31d03"  # MLflow's first migration that has a number
    uri = store(tmp_path / "mlflow.db", oldest)
    assert line(uri) == (
        f"error    mlflow: {uri} has the tables of an MLflow older than MLflow "
        f"{mlflow.__version__} (schema {oldest}). Take a copy, then: mlflow db upgrade {uri}"
    )


def test_a_file_that_is_not_there_yet_will_be_made_and_is_not_made_now(tmp_path):
    path = tmp_path / "runs" / "mlflow.db"
    assert line(f"sqlite:///{path}") == (
        f"ok       mlflow: {path} will be made by MLflow {mlflow.__version__}"
    )
    assert list(tmp_path.iterdir()) == []


def folder(path: Path) -> None:
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("experiment,run\n", encoding="utf-8")


def link(path: Path) -> None:
    path.symlink_to(path.with_name("unmounted") / "mlflow.db")


def damaged(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)


@pytest.mark.parametrize(
    ("lay", "words"),
    [
        (folder, "is a folder and no database"),
        (text, "is not an SQLite database"),
        (link, "which is not there"),
        (damaged, "is damaged"),
    ],
)
def test_what_is_no_store_is_reported_at_once_and_left_alone(
    tmp_path: Path, lay: Callable[[Path], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "MlflowClient", pytest.fail)  # it would try for over a minute
    path = tmp_path / "mlflow.db"
    lay(path)
    uri = f"sqlite:///{path}"
    error = examine(uri, "x").error
    assert error.startswith(f"{uri} ")
    assert words in error
    with pytest.raises(OperationalError, match=words), mlflow_errors(uri, "x"):
        MlflowStore(uri, "x", str(tmp_path), SweepState())
    with pytest.raises(OperationalError, match=words), mlflow_errors(uri, "x"):
        Audit(uri, "x", [])
    with pytest.raises(OperationalError, match=words):
        register(tmp_path, "x", uri, "x-1", "0000")
    assert list(tmp_path.iterdir()) == [path]


def test_an_emptied_store_will_be_made_anew_and_is_not_now(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.touch()
    assert "is empty (0 bytes): it will be made anew" in line(f"sqlite:///{path}")
    assert path.stat().st_size == 0


@pytest.mark.parametrize("emptied", [True, False])
def test_who_only_looks_makes_no_tables_in_a_lost_store(tmp_path: Path, emptied: bool) -> None:
    path = tmp_path / "mlflow.db"
    if emptied:
        path.touch()
    why, *runs = Audit(f"sqlite:///{path}", "x", []).differences
    assert why.startswith(f"{path} is {'empty' if emptied else 'not there'}")
    assert runs == ["the sweep's run: MLflow does not have it"]
    assert [file.stat().st_size for file in tmp_path.iterdir()] == ([0] if emptied else [])


def test_nobody_at_the_address_is_found(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = "http://127.0.0.1:9"  # the discard port: nobody listens
    assert line(uri) == (
        f"error    mlflow: {uri} does not answer. Start it, or look at tracking.uri"
    )


@pytest.mark.parametrize("uri", ["http://mlflow.invalid:5000"])
def test_a_host_that_is_not_known_is_found(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert line(uri).startswith(
        f'error    mlflow: {uri} cannot be found: the host "mlflow.invalid" is not known. '
    )


@pytest.mark.parametrize("place", ["/proc/mlflow.db", "/proc/a/b/mlflow.db", "/dev/null/x.db"])
def test_a_file_that_cannot_be_made_is_reported(place):
    uri = f"sqlite:///{place}"
    assert examine(uri, "e").error.startswith(f"{uri} cannot be made: ")


def test_a_file_here_that_fails_is_not_said_of_mlflow(tmp_path: Path) -> None:
    with (
        pytest.raises(OperationalError, match=r"x: cannot be read or written \(Not a directory\)"),
        mlflow_errors("http://mlflow", "digits"),
    ):
        raise NotADirectoryError(20, "Not a directory", str(tmp_path / "x"))
