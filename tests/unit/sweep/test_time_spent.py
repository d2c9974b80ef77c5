"""What a sweep has spent of its time budget, over the lives of its drivers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from raysel.common.locations import sqlite_url
from raysel.record.events import SWEEP, Event, Kind, Record
from raysel.record.state import fold, fold_sweep
from raysel.sweep.existing import _spent
from raysel.sweep.reconcile import _Mending


def test_a_reconcile_long_after_a_crash_spends_nothing(tmp_path: Path) -> None:
    record = Record(sqlite_url(tmp_path / "sweep.db"))
    for event in (
        Event(SWEEP, Kind.SWEEP, 0, 100.0, {}),
        Event("0001", Kind.STARTED, 0, 101.0, {}),
        Event("0001", Kind.EPOCH, 1, 110.0, {"metrics": {}}),
    ):
        record.append(event)
    nothing = cast(Any, SimpleNamespace())
    assert _Mending(nothing, nothing, record, nothing).record(close=True)
    events = record.events()
    reported = [stored.event for stored in events]
    assert fold(reported)["0001"].status == "FAILED"
    assert fold_sweep(reported).status == "INTERRUPTED"
    assert _spent(events) == 10.0
