"""`raysel stop` of a driver on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from view_kit import make, started

from raysel.common.errors import OperationalError
from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url
from raysel.record.layout import SweepFolder
from raysel.record.ownership import Holder
from raysel.sweep import stop
from raysel.sweep.stop import stop_sweep


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Holder | None]:
    """Who runs the sweep `a`, asked one time after the other."""
    make(tmp_path, "a", started("0000", 0))
    reported: list[Holder | None] = [Holder.this_process()]
    monkeypatch.setattr(stop, "holder_of", lambda *_: reported.pop(0) if reported else None)
    return reported


def finished(folder: SweepFolder, status: str, cause: str | None) -> None:
    record = Record(sqlite_url(folder.record))
    record.append(Event(SWEEP, Kind.FINISHED, 1, 10.0, {"status": status, "cause": cause}))
    record.close()


@pytest.mark.parametrize(
    ("status", "cause", "words"),
    [
        ("INTERRUPTED", "stopped by SIGTERM", "a has stopped (stopped by SIGTERM); go on with: "),
        ("INTERRUPTED", "Ray was lost: x", "a has stopped (Ray was lost: x); go on with: "),
        ("COMPLETE", None, "a was complete before it could be stopped"),
    ],
)
def test_what_happened_is_reported_by_the_record(
    tmp_path: Path,
    held: list[Holder | None],
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    cause: str | None,
    words: str,
) -> None:
    def ends(pid: int, sign: int) -> None:
        finished(SweepFolder.of(str(tmp_path), "a"), status, cause)

    monkeypatch.setattr(os, "kill", ends)
    assert stop_sweep(str(tmp_path), "a", 1.0).startswith(words)


def test_a_driver_that_dies_instead_has_not_stopped(
    tmp_path: Path, held: list[Holder | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pid: int, sign: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", gone)
    with pytest.raises(OperationalError) as reported:
        stop_sweep(str(tmp_path), "a", 1.0)
    words = "its driver died before it could end in order, 1 trial was cut off; go on with: "
    assert words in str(reported.value)


def test_another_users_driver_is_reported_in_one_line(
    tmp_path: Path, held: list[Holder | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pid: int, sign: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    with pytest.raises(OperationalError, match="another user's"):
        stop_sweep(str(tmp_path), "a", 1.0)


@pytest.mark.parametrize("changes", [{"place": "another boot"}, {"born": "1"}])
def test_a_process_that_merely_has_the_drivers_pid_is_not_signalled(
    tmp_path: Path,
    held: list[Holder | None],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
) -> None:
    signalled: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, sign: signalled.append(pid) if sign else None)
    held[0] = replace(Holder.this_process(), **changes)
    with suppress(OperationalError):
        stop_sweep(str(tmp_path), "a", 1.0)
    assert not signalled
