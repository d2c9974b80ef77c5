"""The heartbeat is written and read by the same hand."""

from __future__ import annotations

import io

import pytest

from raysel.cli.live_table import ConsoleReporter
from raysel.common.rich_output import TextConsole
from raysel.service.progress import Progress, last_of


@pytest.mark.parametrize(
    "progress",
    [
        Progress("search", 0, 30, 2, "0:00"),
        Progress("search", 12, 30, 2, "1:31", "val/error", 0.24, "surgical block=a+b lr=0.01"),
        Progress("confirm", 3, 3, 0, "2:05:00", "val/loss", -1.5, "full"),
        Progress("cells", 0, 4, 0, "1:36", cells="noise source step 500/3,960, flip opening"),
    ],
)
def test_what_is_written_is_read(progress: Progress) -> None:
    assert last_of(f"noise\n{progress.line()}\nprogress of another kind\n") == progress


def test_the_last_one_counts() -> None:
    log = "".join(Progress("search", done, 9, 1, "0:01").line() + "\n" for done in range(4))
    found = last_of(log)
    assert found is not None and found.done == 3


def test_a_log_without_one_says_nothing() -> None:
    assert last_of("digits · 40 trials\n  1/40 0001 full complete\n") is None


def test_a_driver_without_a_terminal_reports_its_progress() -> None:
    out = io.StringIO()
    reporter = ConsoleReporter(TextConsole(file=out, soft_wrap=True))
    reporter.phase("search", 7, [])
    assert last_of(out.getvalue()) == Progress("search", 0, 7, 0, "0:00")


def test_on_a_terminal_the_table_says_it() -> None:
    out = io.StringIO()
    reporter = ConsoleReporter(TextConsole(file=out, force_terminal=True))
    try:
        reporter.phase("search", 7, [])
    finally:
        reporter.finish()
    assert last_of(out.getvalue()) is None
