"""A folder's name is the handle; a copy has runs of its own in MLflow; a link is removed alone;
databases are their user's own."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import closing
from pathlib import Path

import pytest
from view_kit import make, started

from raysel.cli.main import main
from raysel.common.locations import mlflow_uri
from raysel.mlflow_sync.process import EVENTS_CURSOR
from raysel.mlflow_sync.store import ensure_store
from raysel.record.events import Record, sqlite_url
from raysel.record.layout import SweepFolder, write_json
from raysel.record.state import fold_sweep
from raysel.spec.reader import load
from raysel.sweep.backup import copy
from raysel.sweep.copied import own_identity
from raysel.sweep.own_record import known_id, own_events


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    make(tmp_path, "a", started("0000", 0, "full"))
    return tmp_path


def reported(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(arguments)
    return code, capsys.readouterr().out


def test_a_copied_folder_has_one_name_for_every_verb(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(storage / "a", storage / "b")
    code, out = reported(capsys, "list", "--storage", str(storage))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["a", "b"]
    assert 'b: a copy of the sweep "a"' in out
    code, out = reported(capsys, "show", "b", "--storage", str(storage))
    assert code == 0
    assert out.startswith("b ·")


@pytest.fixture
def a(tmp_path: Path) -> SweepFolder:
    """A sweep with an id, all of which MLflow has."""
    folder = make(tmp_path / "runs", "a", started("0000", 0, "full"), sweep_id="a-1")
    write_json(folder.manifest, {"sweep_id": "a-1"})
    with closing(Record(sqlite_url(folder.record))) as record:
        record.move_cursor(EVENTS_CURSOR, record.last_sequence())
    return folder


def opened(path: Path, **more: str) -> tuple[str | None, str, int]:
    """A driver opens the sweep: what it says, the sweep's id then, and how far MLflow is."""
    folder = SweepFolder(path)
    spec = load(folder.spec, [f"{key}={value}" for key, value in more.items()])
    with closing(Record(sqlite_url(folder.record))) as record:
        words = own_identity(folder, spec, record, own_events(folder, spec))
        sweep = fold_sweep(own_events(folder, spec))
        assert sweep.id == known_id(folder)
        return words, sweep.id, record.cursor(EVENTS_CURSOR)


def test_a_copy_goes_on_with_runs_of_its_own(a: SweepFolder) -> None:
    b = a.path.with_name("b")
    shutil.copytree(a.path, b)
    words, own, sent = opened(b)
    assert "a copy of a-1" in str(words)
    assert own != "a-1"
    assert sent == 0
    assert opened(b) == (None, own, 0)
    assert opened(a.path) == (None, "a-1", 2)


def test_a_copy_of_which_the_driver_was_killed_meanwhile(a: SweepFolder) -> None:
    b = a.path.with_name("b")
    shutil.copytree(a.path, b)
    write_json(b / "manifest.json", {"sweep_id": "a-2", "copy_of": "a-1"})
    words, own, sent = opened(b)
    assert words
    assert (own, sent) == ("a-2", 0)


def test_a_moved_or_linked_sweep_keeps_its_runs(a: SweepFolder) -> None:
    (a.path.parent / "link").symlink_to(a.path)
    assert opened(a.path.parent / "link") == (None, "a-1", 2)
    (a.path.parent / "link").unlink()
    assert opened(a.path.rename(a.path.with_name("c"))) == (None, "a-1", 2)


def test_a_copied_storage_has_an_mlflow_of_its_own_where_the_file_names_none(
    a: SweepFolder, tmp_path: Path
) -> None:
    shutil.copytree(a.path.parent, tmp_path / "other")
    assert opened(tmp_path / "other" / "a") == (None, "a-1", 2)
    words, own, _ = opened(tmp_path / "other" / "a", **{"tracking.uri": "http://127.0.0.1:5000"})
    assert words
    assert own != "a-1"


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_reconcile_leaves_the_originals_runs_alone(
    a: SweepFolder, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    b = a.path.with_name("b")
    shutil.copytree(a.path, b)
    assert main(["reconcile", "b", "--storage", str(b.parent), *more]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is a copy of {a.path}" in line
    assert f"raysel resume b --storage {b.parent}" in line


def test_a_moved_storage_with_a_copy_in_it_has_one_copy(a: SweepFolder, tmp_path: Path) -> None:
    shutil.copytree(a.path, a.path.with_name("b"))
    a.path.parent.rename(tmp_path / "other")
    assert opened(tmp_path / "other" / "a") == (None, "a-1", 2)
    assert opened(tmp_path / "other" / "b")[0]


def test_gc_counts_a_linked_sweep_once(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (storage / "a" / "tune").mkdir()
    (storage / "a" / "tune" / "x").write_bytes(bytes(500_000))
    (storage / "b").symlink_to(storage / "a")
    code, out = reported(capsys, "gc", "--storage", str(storage), "--yes")
    assert code == 0
    assert "a: Ray's own files" in out
    assert "b: " not in out
    assert "0.5 MB freed" in out


def test_rm_of_a_link_removes_the_link_alone_and_says_so(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (storage / "b").symlink_to(storage / "a")
    code, out = reported(capsys, "rm", "b", "--storage", str(storage), "--yes")
    assert code == 0, out
    assert f"the link {storage / 'b'} alone; {storage / 'a'} stays" in out
    assert "0.0 MB freed" in out
    assert not (storage / "b").is_symlink()
    assert (storage / "a" / "sweep.db").is_file()


def test_rm_refuses_a_sweep_that_is_open_though_its_lock_is_gone(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (storage / "a" / "owner.lock").unlink(missing_ok=True)
    with (storage / "a" / "sweep.db").open():
        assert main(("rm", "a", "--storage", str(storage), "--yes")) == 2
    assert f"its record is open in process {os.getpid()}" in capsys.readouterr().err
    assert (storage / "a" / "sweep.db").is_file()
    assert reported(capsys, "rm", "a", "--storage", str(storage), "--yes")[0] == 0


def test_rm_says_that_what_a_link_within_leads_to_stays(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (storage / "a" / "trials").symlink_to(elsewhere)
    code, out = reported(capsys, "rm", "a", "--storage", str(storage), "--yes")
    assert code == 0, out
    assert f"of the link trials to {elsewhere} the target stays" in out
    assert elsewhere.is_dir()
    assert not (storage / "a").exists()


def test_databases_are_their_users_own(storage: Path) -> None:
    record = storage / "a" / "sweep.db"
    copy(record, record.with_name("sweep.backup.db"))
    store = storage / "mlflow.db"
    ensure_store(mlflow_uri(store))
    for file in (record, record.with_name("sweep.backup.db"), store):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
