"""The page of MLflow that shows a sweep, as the exporter noted it."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysel.common.errors import OperationalError
from raysel.record.mlflow_page import (
    FILE,
    mlflow_lines,
    note_experiment,
    noted_page,
    refuse_other_folder,
)

LOCAL = "sqlite:////runs/mlflow.db"
VIEW = "viewStateShareKey=raysel-trials&workflowType=machine_learning"


def test_a_database_is_opened_by_a_command_and_then_the_address(tmp_path: Path) -> None:
    note_experiment(tmp_path, LOCAL, "3")
    command, address = mlflow_lines(tmp_path, LOCAL)
    assert command == f"mlflow ui --backend-store-uri {LOCAL}"
    assert address == f"http://127.0.0.1:5000/#/experiments/3/runs?{VIEW}"


def test_a_server_has_the_address_alone(tmp_path: Path) -> None:
    note_experiment(tmp_path, "https://mlflow.example/base/", "3")
    lines = mlflow_lines(tmp_path, "https://mlflow.example/base/")
    assert lines == [f"https://mlflow.example/base/#/experiments/3/runs?{VIEW}"]


def test_a_hosted_mlflow_has_pages_of_its_own(tmp_path: Path) -> None:
    note_experiment(tmp_path, "databricks", "3")
    assert noted_page(tmp_path, "databricks") is None


def test_before_the_first_export_there_is_the_command_or_the_server(tmp_path: Path) -> None:
    assert mlflow_lines(tmp_path, LOCAL) == [f"mlflow ui --backend-store-uri {LOCAL}"]
    assert mlflow_lines(tmp_path, "http://host:5000") == ["http://host:5000"]


def test_the_experiment_of_another_store_is_not_named(tmp_path: Path) -> None:
    note_experiment(tmp_path, "sqlite:////before/mlflow.db", "3")
    assert noted_page(tmp_path, LOCAL) is None


def test_a_suite_has_the_page_of_its_cells(tmp_path: Path) -> None:
    (tmp_path / "study" / "b").mkdir(parents=True)
    note_experiment(tmp_path / "study" / "b", LOCAL, "4")
    assert f"/experiments/4/runs?{VIEW}" in str(noted_page(tmp_path / "study", LOCAL))


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"uri": "sqlite:////runs/mlflow.db"}'])
def test_a_damaged_note_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert noted_page(tmp_path, LOCAL) is None


def test_a_note_that_says_so_already_is_left(tmp_path: Path) -> None:
    note_experiment(tmp_path, LOCAL, "3")
    before = (tmp_path / FILE).stat().st_mtime_ns
    note_experiment(tmp_path, LOCAL, "3")
    assert (tmp_path / FILE).stat().st_mtime_ns == before


def test_a_store_beside_the_sweep_is_looked_for_where_it_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow made an empty one in whatever folder the command was given."""
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    monkeypatch.chdir(other)
    refuse_other_folder(own, "sqlite:///rel.db")  # nothing was exported yet
    note_experiment(own, "sqlite:///rel.db", "1")
    with pytest.raises(OperationalError, match="give this command where the sweep ran"):
        refuse_other_folder(own, "sqlite:///rel.db")
    refuse_other_folder(own, "sqlite:////tmp/rel.db")
    refuse_other_folder(own, "http://127.0.0.1:5000")
    Path("rel.db").touch()
    refuse_other_folder(own, "sqlite:///rel.db")
