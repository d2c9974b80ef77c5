"""A folder's name is the handle; a link is removed alone; databases are their user's own."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from view_kit import make, started

from raysel.cli import main
from raysel.places import mlflow_uri
from raysel.sweep.backup import copy
from raysel.tracking.new_store import ensure_store


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    make(tmp_path, "a", started("0000", 0, "full"))
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(arguments)
    return code, capsys.readouterr().out


def test_a_copied_folder_has_one_name_for_every_verb(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(storage / "a", storage / "b")
    code, out = told(capsys, "list", "--storage", str(storage))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["a", "b"]
    assert 'b: a copy of the sweep "a"' in out
    code, out = told(capsys, "show", "b", "--storage", str(storage))
    assert code == 0
    assert out.startswith("b ·")


def test_rm_of_a_link_removes_the_link_alone_and_says_so(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (storage / "b").symlink_to(storage / "a")
    code, out = told(capsys, "rm", "b", "--storage", str(storage), "--yes")
    assert code == 0, out
    assert f"the link {storage / 'b'} alone; {storage / 'a'} stays" in out
    assert "0.0 MB freed" in out
    assert not (storage / "b").is_symlink()
    assert (storage / "a" / "sweep.db").is_file()


def test_databases_are_their_users_own(storage: Path) -> None:
    record = storage / "a" / "sweep.db"
    copy(record, record.with_name("sweep.backup.db"))
    store = storage / "mlflow.db"
    ensure_store(mlflow_uri(store))
    for file in (record, record.with_name("sweep.backup.db"), store):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
