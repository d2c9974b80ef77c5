"""What ends a sweep in order before its budget does: signals and the clock."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE = "RAY_JOB_STOP_WAIT_TIME_S"
"""The environment variable that says after how many seconds Ray kills a job that is stopped."""


@contextmanager
def on_signals(ask: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `ask` with the cause, each time.

    A job calls it again by itself after half of its grace, for then it is killed in mid-word
    where an epoch takes longer.
    """
    grace = os.environ.get(GRACE, "")

    def asked(sign: int, _: object) -> None:
        cause = "stopped by Ctrl-C" if sign == signal.SIGINT else "stopped by SIGTERM"
        ask("the job was stopped" if grace else cause)
        if grace.isdigit():
            hurry = threading.Timer(int(grace) / 2, ask, [cause])
            hurry.daemon = True
            hurry.start()

    before = {sign: signal.signal(sign, asked) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


@contextmanager
def after_seconds(total: float | None, left: float, ask: Callable[[str], None]) -> Iterator[None]:
    """Call `ask` when the time of all lives is used up.

    Args:
        total: the budget in seconds; None for no end.
        left: what is left of it now.
    """
    if total is None:
        yield
        return
    cause = f"the time budget of {total:g} s is used up"
    timer = threading.Timer(max(0.0, left), ask, [cause])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
