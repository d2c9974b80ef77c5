"""What `run --json` prints, and what happens where nobody reads it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from raysel.cli.live_table import ConsoleReporter, JsonReporter
from raysel.common.rich_output import TextConsole
from raysel.record.events import Event, Kind
from raysel.spec.task import TaskSpec
from raysel.tasks.opened_task import open_task


def test_a_metric_that_is_not_finite_is_null_and_every_line_is_json(capsys):
    def strict(name: str) -> Any:
        raise ValueError(name)

    metrics = {"train/loss": float("nan"), "val/loss": float("inf"), "val/error": 0.5}
    JsonReporter().event(Event("1", Kind.EPOCH, 1, 0.0, {"metrics": metrics}))
    reported = json.loads(capsys.readouterr().out, parse_constant=strict)
    assert reported["metrics"] == {"train/loss": None, "val/loss": None, "val/error": 0.5}


NOBODY_READS = """
import os, sys
from raysel.cli.live_table import shown
with shown(False, {as_json}) as watcher:
    while os.read(0, 1) != b"x":  # until the reader has gone
        pass
    for _ in range(3):
        watcher.tracker("on")
        watcher.stopping("Ctrl-C")
sys.stderr.write("went on")
"""


@pytest.mark.slow
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


def shown_in_a_pipe(reported) -> str:
    text = io.StringIO()
    reported(ConsoleReporter(TextConsole(file=text, width=1000)))
    return text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_quiet_sweep_shows_what_the_user_may_have_to_act_on(terminal):
    text = io.StringIO()
    console = TextConsole(file=text, width=1000, force_terminal=terminal)
    reporter = ConsoleReporter(console, quiet=True)
    reporter.note("something")
    reporter.phase("search", 3, [])
    reporter.decoding(1, 1)
    started = {"strategy": "full", "label": "full"}
    reporter.event(Event("0000", Kind.STARTED, 0, 0.0, started))
    assert text.getvalue() == ""
    reporter.tracker("is away")
    reporter.stopping("Ctrl-C")
    assert text.getvalue().splitlines() == [
        "mlflow   is away",
        "stopping: Ctrl-C; 1 trial ends its epoch, then the summary (Ctrl-C again to leave at "
        "once)",
    ]


def test_what_was_read_is_said_first(capsys):
    data = open_task(TaskSpec.model_validate({"data": "digits"})).summary()
    assert shown_in_a_pipe(lambda reporter: reporter.data(data)) == "\n".join(
        [*data.text(), "", ""]
    )
    JsonReporter().data(data)
    reported = json.loads(capsys.readouterr().out)
    assert (reported["kind"], reported["pictures"], reported["class_count"]) == ("data", 1797, 10)
    assert shown_in_a_pipe(lambda reporter: reporter.data(data)).startswith(
        "data     digits: 1,797"
    )


def test_the_training_of_the_source_model_is_reported_in_a_pipe_now_and_then():
    def reported(reporter: ConsoleReporter) -> None:
        for step in range(1, 901):
            reporter.source_training(step, 900)

    start = "source   training on the source part: step"
    assert shown_in_a_pipe(reported) == f"{start} 1 of 900 (0%)\n{start} 900 of 900 (100%)\n"
