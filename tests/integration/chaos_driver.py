"""`raysel` in a process that kills itself with SIGKILL at a chosen moment.

    python -m tests.integration.chaos_driver MOMENT COUNT ARGUMENTS...

The moment is one of those below; it comes when it has come COUNT times. `time` is so many tenths
of a second after the first event.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

SEARCH_MOMENTS = (
    *(f"{when} {kind}" for kind in ("started", "epoch", "ended") for when in ("before", "after")),
    *("after ask", "before report", "after report", "before tell", "after tell"),
    *("before copy", "after copy", "time", "time", "time", "time"),
)
CONFIRM_MOMENTS = ("before confirm started", "after confirm epoch", "before confirm ended")
LAST_MOMENTS = ("before results", "before finished", "after finished")


def die() -> None:
    """As the kernel would end a process: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Dies when it is called for the COUNT-th time."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            die()


def around(owner: Any, name: str, before: bool, countdown: Callable[[], None]) -> None:
    """Count the calls of `owner.name`, at their beginning or at their end."""
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if before:
            countdown()
        answer = original(*arguments, **named)
        if not before:
            countdown()
        return answer

    setattr(owner, name, wrapped)


def arm(moment: str, count: int) -> None:
    """Put the charge where it is wanted."""
    import optuna

    from raysel.record.events import Record
    from raysel.sweep import backup, session

    countdown = Countdown(count)
    when, _, what = moment.partition(" ")
    before = when == "before"
    if moment == "time":
        arm_clock(Record, count / 10)
    elif what == "ask":
        around(optuna.Study, "ask", before, countdown)
    elif what == "report":
        around(optuna.trial.Trial, "report", before, countdown)
    elif what == "tell":
        around(optuna.Study, "tell", before, countdown)
    elif what == "results":
        around(session, "write_json", before, Countdown(1))
    elif what == "copy":
        around(backup, "copy", before, countdown)
    else:
        arm_event(Record, what, before, countdown)


def arm_event(record: Any, what: str, before: bool, countdown: Callable[[], None]) -> None:
    original = record.append
    kind = what.removeprefix("confirm ")
    confirm = what.startswith("confirm ")

    def append(self: Any, *events: Any) -> bool:
        meant = any(
            event.kind == kind and (event.trial.startswith("confirm") or not confirm)
            for event in events
        )
        if meant and before:
            countdown()
        answer = original(self, *events)
        if meant and not before:
            countdown()
        return bool(answer)

    record.append = append


def arm_clock(record: Any, seconds: float) -> None:
    original = record.append
    started: list[threading.Timer] = []

    def append(self: Any, *events: Any) -> bool:
        if not started:
            started.append(threading.Timer(seconds, die))
            started[0].daemon = True
            started[0].start()
        return bool(original(self, *events))

    record.append = append


if __name__ == "__main__":
    moment, count, *arguments = sys.argv[1:]
    arm(moment, int(count))
    from raysel.cli.main import main

    sys.exit(main(arguments))
