"""What `run --json` prints, and what happens where nobody reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from raysel.terminal import JsonWatcher
from raysel.tracking.record import Event, Kind


def test_a_metric_that_is_not_finite_is_null_and_every_line_is_json(capsys):
    def strict(name: str) -> Any:
        raise ValueError(name)

    metrics = {"train/loss": float("nan"), "val/loss": float("inf"), "val/error": 0.5}
    JsonWatcher().event(Event("1", Kind.EPOCH, 1, 0.0, {"metrics": metrics}))
    told = json.loads(capsys.readouterr().out, parse_constant=strict)
    assert told["metrics"] == {"train/loss": None, "val/loss": None, "val/error": 0.5}


NOBODY_READS = """
import os, sys
from raysel.terminal import shown
with shown(False, {as_json}) as watcher:
    while os.read(0, 1) != b"x":  # until the reader has gone
        pass
    for _ in range(3):
        watcher.tracker("on")
        watcher.stopping("Ctrl-C")
sys.stderr.write("went on")
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_a_reader_that_goes_away_does_not_end_the_sweep(as_json):
    """`| head`, or `| tee` at Ctrl-C: rich would raise SystemExit in the middle of an event."""
    command = [sys.executable, "-c", NOBODY_READS.format(as_json=as_json)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.close()
        process.stdin.write(b"x")
        process.stdin.flush()
        error = process.stderr.read()
    assert (process.returncode, error) == (0, b"went on")
