"""`list` and `show` over a record that somebody else wrote: nothing in it steers the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raysel.cli.main import main
from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url
from raysel.spec.reader import parse
from raysel.sweep.views import LEFT

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e[/]\nverdict  forged " + "x" * 100_000
SPEC = """
name: s
task: {data: digits}
model: {name: test_resnet}
strategies: {full: }
"""


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """The record of a sweep `s` with a trial 7, whose every text is hostile."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "s"
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text(parse(SPEC).to_yaml(), encoding="utf-8")
    record = Record(sqlite_url(folder / "sweep.db"))
    config = {"strategy": "full", "parameters": {HOSTILE: HOSTILE}, "training": {}, "seed": 0}
    events = [
        (SWEEP, Kind.SWEEP, 0, {"name": "s", "sweep_id": HOSTILE, "layers": [HOSTILE]}),
        (
            *("0007", Kind.STARTED, 0),
            {"number": 7, "phase": "search", "strategy": HOSTILE, "label": HOSTILE}
            | {"config": config, "searched": {HOSTILE: HOSTILE}},
        ),
        (
            *("0007", Kind.EPOCH, 1),
            {"metrics": {"val/error": 0.5, f"select/{HOSTILE}": 1.0}, "note": HOSTILE},
        ),
        (
            *("0007", Kind.ENDED, 1),
            {"status": "FAILED", "cause": HOSTILE, "value": None, "metrics": {HOSTILE: 0.5}},
        ),
    ]
    for trial, kind, epoch, payload in events:
        assert record.append(Event(trial, kind, epoch, 1.0, payload))
    return record


@pytest.mark.parametrize("verb", [["list"], ["show", "s"], ["show", "s", "7"]])
def test_text_of_a_stranger_is_safe_and_short(record, capsys, verb):
    finished = {"status": "INTERRUPTED", "cause": HOSTILE, "verdict": HOSTILE}
    assert record.append(Event(SWEEP, Kind.FINISHED, 1, 2.0, finished))
    assert main(verb) == 0
    out = capsys.readouterr().out
    assert not any(sign in out for sign in "\x1b\x07\u202e")
    assert r"\x1b]0;owned\x07\x1b[2J\u202e[/]\nverdict  forged xxx" in out
    assert not any(line.startswith("verdict  forged") for line in out.splitlines())
    assert len(out) < 20_000
    assert main([*verb, "--json"]) == 0
    out = capsys.readouterr().out
    assert not any(sign in out for sign in "\x1b\x07\u202e")
    assert HOSTILE in str(json.loads(out)) or repr(HOSTILE)[1:-1] in str(json.loads(out))


def test_the_name_of_another_sweep_is_safe_and_short(record, tmp_path, capsys):
    text = parse(SPEC.replace("name: s", "name: other")).to_yaml()
    (tmp_path / "runs" / "s" / "spec.yaml").write_text(text, encoding="utf-8")
    assert main(["show", "s"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is the record of the sweep" in line
    assert "\x1b" not in line
    assert len(line) < 1000


def test_a_sweep_whose_driver_has_gone_says_so(record, capsys):
    assert main(["list"]) == 0
    assert LEFT == "the driver process died before the sweep finished"
    assert LEFT in capsys.readouterr().out
