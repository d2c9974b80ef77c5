"""Whether MLflow takes records, without a server (with one: `tests/integration/test_doctor.py`)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import mlflow
import pytest

from raysel.mlflow_sync.preflight import examine
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
