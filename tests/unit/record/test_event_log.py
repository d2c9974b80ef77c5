"""An incident waits for an epoch that is new."""

from __future__ import annotations

from raysel.common.locations import sqlite_url
from raysel.record.event_log import EventLog
from raysel.record.events import Record


def test_an_incident_of_an_epoch_that_is_reported_again_goes_with_the_next_new_one(tmp_path):
    record = Record(sqlite_url(tmp_path / "sweep.db"))
    log = EventLog(record, 1)
    log.epoch("0000", 1, {}, None)
    assert not log.epoch("0000", 1, {}, {"note": "out of memory", "halved_at_epoch": 1})
    assert not log.epoch("0000", 1, {}, {"note": "damaged"})
    assert log.epoch("0000", 2, {}, {"note": "away"})
    assert log.epoch("0000", 3, {}, None)
    payloads = [stored.event.payload for stored in record.events()]
    assert payloads[1:] == [
        {"metrics": {}, "note": "out of memory; damaged; away", "halved_at_epoch": 1},
        {"metrics": {}},
    ]
    record.close()
