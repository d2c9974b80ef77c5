"""Sweep folders with a record that says what a test wants."""

from __future__ import annotations

from pathlib import Path

from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url
from raysel.record.layout import SweepFolder
from raysel.spec.reader import parse_resolved

FILE = "name: {}\ntask: {{data: digits}}\nmodel: {{name: resnet10t}}\nstrategies: {{full: }}\n"


def epoch(trial: str, number: int, error: float) -> Event:
    return Event(trial, Kind.EPOCH, number, float(number), {"metrics": {"val/error": error}})


def started(trial: str, number: int, strategy: str = "full") -> Event:
    payload = {"number": number, "phase": "search", "strategy": strategy, "label": strategy}
    return Event(trial, Kind.STARTED, 0, 0.0, payload)


def ended(trial: str, status: str, value: float | None) -> Event:
    return Event(trial, Kind.ENDED, 1, 9.0, {"status": status, "value": value, "cause": None})


def make(
    storage: Path, name: str, *events: Event, sweep_id: str = "", spec: str = ""
) -> SweepFolder:
    folder = SweepFolder.of(str(storage), name)
    folder.path.mkdir(parents=True)
    spec = spec or parse_resolved(FILE.format(name)).to_yaml()
    folder.spec.write_text(spec, encoding="utf-8")
    record = Record(sqlite_url(folder.record))
    facts = {"name": name, "layers": ["stem"], "sweep_id": sweep_id, "spec": spec}
    facts["folder"] = str(folder.path)
    record.append(Event(SWEEP, Kind.SWEEP, 0, 0.0, facts))
    for event in events:
        record.append(event)
    record.close()
    return folder


FINISHED = Event(SWEEP, Kind.FINISHED, 1, 10.0, {"status": "COMPLETE", "verdict": "full."})
