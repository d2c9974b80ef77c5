"""A suite whose storage is a bucket, or whose records lie in PostgreSQL: left with a cell that is
not complete it is gone on with, from a bucket on another machine, and the verbs know it. No Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
import suite_session_kit as kit

from raysel.common.errors import UserError
from raysel.common.object_store import Bucket
from raysel.record.layout import SweepFolder
from raysel.sweep.outcome import Outcome
from raysel.sweep.suite_folder import read_suite

from .drivers import here
from .object_store import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    kit.without_ray(monkeypatch)


def fails_first(outcome: Outcome) -> Outcome:
    """The first cell is left; the others end."""
    if outcome.folder.name == "suite/shots1":
        raise UserError()
    return outcome


def check(storage: str) -> None:
    """It is complete, the verbs that read say so, and it can be removed."""
    assert {cell.state for cell in read_suite(storage, "suite").cells} == {"COMPLETE"}
    code, out, err = here("list", "--storage", storage)
    assert code == 0 and "COMPLETE" in out, out + err
    code, out, err = here("show", "suite", "--storage", storage)
    assert code == 0 and "2 of 2 cells complete" in out, out + err
    code, out, err = here("rm", "suite", "--storage", storage, "--yes")
    assert code == 0, out + err


def test_another_machine_goes_on_with_a_suite_in_a_bucket_and_has_its_code(
    tmp_path: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-1"))
    uri = object_store.new_bucket()
    (tmp_path / "mine.py").write_text("KNOWN = True\n")
    code = f"code_files=[{tmp_path}/mine.py]"
    assert kit.run(uri, None, fails_first, code).complete == 1  # type: ignore[arg-type]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-2"))
    assert kit.resume(uri).complete == 2  # type: ignore[arg-type]
    assert (SweepFolder.of(uri, "suite").code / "mine.py").read_text() == "KNOWN = True\n"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-3"))  # a visitor's
    check(uri)
    assert not Bucket(uri).below("suite").sizes()


def test_a_suite_with_its_records_in_postgresql_is_gone_on_with(
    tmp_path: Path, record: str
) -> None:
    storage = tmp_path / "runs"
    assert kit.run(storage, None, fails_first, f"database_url={record}").complete == 1
    assert kit.resume(storage).complete == 2
    assert not list(storage.rglob("sweep*.db"))
    check(str(storage))
    assert not (storage / "suite").exists()
