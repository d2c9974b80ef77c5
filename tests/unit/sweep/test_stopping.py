"""`raysel stop` of a driver on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from view_kit import make

from raysel.errors import Trouble
from raysel.sweep import stopping
from raysel.sweep.stopping import stop_sweep
from raysel.tracking.owner import Holder


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Holder | None]:
    """Who runs the sweep `a`, asked one time after the other."""
    make(tmp_path, "a")
    told: list[Holder | None] = [Holder.this_process()]
    monkeypatch.setattr(stopping, "holder_of", lambda *_: told.pop(0) if told else None)
    return told


def test_a_driver_that_ends_meanwhile_has_stopped(
    tmp_path: Path, held: list[Holder | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pid: int, sign: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", gone)
    assert "has stopped" in stop_sweep(str(tmp_path), "a", 1.0)


def test_another_users_driver_is_told_in_one_line(
    tmp_path: Path, held: list[Holder | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pid: int, sign: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    with pytest.raises(Trouble, match="another user's"):
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
    with suppress(Trouble):
        stop_sweep(str(tmp_path), "a", 1.0)
    assert not signalled
