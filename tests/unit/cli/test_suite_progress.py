"""How far a suite is, in a log file: cells that begin and end, and the line that `status` reads."""

from __future__ import annotations

import io
import json

from raysel.cli.live_table import ConsoleReporter, JsonReporter
from raysel.common.rich_output import TextConsole
from raysel.record.events import Event, Kind
from raysel.service.progress import last_of
from raysel.spec.reader import parse

SPEC = parse(
    "name: x\ntask: {data: digits}\nmodel: {name: resnet10t}\nstrategies: {full: }\n"
)  # fmt: skip


def started(trial: str) -> Event:
    return Event(trial, Kind.STARTED, 0, 0.0, {"phase": "search", "strategy": "full"})


def ended(trial: str, status: str = "COMPLETE", cause: str | None = None) -> Event:
    return Event(trial, Kind.ENDED, 1, 0.0, {"status": status, "value": 0.5, "cause": cause})


def log() -> tuple[ConsoleReporter, io.StringIO]:
    text = io.StringIO()
    return ConsoleReporter(TextConsole(file=text, width=1000)), text


def test_cells_beside_each_other_are_counted_apart():
    reporter, text = log()
    reporter.suite("table", 3, 1)
    one, other = reporter.cell("table/a"), reporter.cell("table/b")
    for cell in (one, other):
        cell.began(SPEC, 2, 1, 2)
        cell.phase("search", 2, [])
        cell.note("the same of both")
    one.event(started("0000"))
    other.event(started("0000"))
    one.event(ended("0000"))
    reporter.cell_ended("table/a", "full won")
    shown = text.getvalue()
    assert "table · 3 cells, 1 of them complete" in shown
    assert "begins   table/b · 2 trials · 1 strategies · 2 at a time" in shown
    assert shown.count("the same of both") == 1
    assert "cell 2/3  table/a: full won" in shown
    progress = last_of(shown)
    assert progress is not None
    assert (progress.phase, progress.done, progress.total, progress.running) == ("cells", 2, 3, 1)
    assert progress.cells == "table/b search 0/2"


def test_a_failed_trial_is_named_with_its_cell():
    reporter, text = log()
    reporter.suite("table", 1, 0)
    reporter.cell("table/a").event(ended("0003", "FAILED", "out of memory"))
    assert "table/a 0003 failed: out of memory" in text.getvalue()


def test_as_json_every_line_of_a_cell_has_its_name(capsys):
    reporter = JsonReporter()
    reporter.suite("table", 1, 0)
    reporter.cell("table/a").event(started("0000"))
    reporter.cell_ended("table/a", "full won")
    first, second, third = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"kind": "suite", "name": "table", "cells": 1, "complete": 0}
    assert (second["cell"], second["trial"]) == ("table/a", "0000")
    assert third == {"kind": "cell", "name": "table/a", "outcome": "full won"}
