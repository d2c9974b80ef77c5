"""A storage may have any name: MLflow's store, SQLAlchemy and the record read one path."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from raysel.common.locations import mlflow_uri, sqlite_file, sqlite_url
from raysel.common.tracking_uri import mlflow_hint
from raysel.mlflow_sync.connection import client, readable_uri
from raysel.mlflow_sync.new_store import ensure_store
from raysel.record.events import Event, Record
from raysel.record.read_only import read_events

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


@pytest.mark.parametrize("name", ["jürgen a", "50%20off", "what? #1", """it's "{x}"&b=c+d"""])
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
