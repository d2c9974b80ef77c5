"""Which sweep of a name is there, and what may not change on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from view_kit import FILE, make

from raysel.common.errors import UserError
from raysel.common.locations import sqlite_url
from raysel.record.events import SWEEP, Event, Kind, Record
from raysel.record.layout import SweepFolder
from raysel.spec.reader import parse
from raysel.sweep import resumed_spec
from raysel.sweep.resumed_spec import continued, stored_spec
from raysel.sweep.start import start

ELSEWHERE = "database_url=postgresql://nobody@127.0.0.1:1/none"
UNASKED = cast(Any, None)  # no watcher comes into it


def test_a_sweep_in_sqlite_is_there_for_one_who_asks_for_postgresql(tmp_path: Path) -> None:
    make(tmp_path, "a")
    wanted = parse(FILE.format("a"), [ELSEWHERE, f"storage={tmp_path}"])
    with pytest.raises(UserError, match='a sweep named "a" exists'):
        start(wanted, UNASKED, lambda _: None)
    with pytest.raises(UserError, match="database_url: None in the sweep"):
        start(wanted, UNASKED, lambda _: None, resume_if_exists=True)


def test_a_database_that_has_moved_is_the_same_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sqlite_url(tmp_path / "moved.db")
    monkeypatch.setattr(resumed_spec, "sweep_url", lambda *_: url)
    before = parse(FILE.format("a"), ["database_url=postgresql://me@old/db"])
    record = Record(url)
    record.append(Event(SWEEP, Kind.SWEEP, 0, 0.0, {"spec": before.to_yaml()}))
    record.close()
    wanted = parse(FILE.format("a"), ["database_url=postgresql://me@new/db"])
    stored = stored_spec(wanted, SweepFolder.of(str(tmp_path), "a"))
    assert stored is not None
    assert continued(stored, wanted) == wanted
