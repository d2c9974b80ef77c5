"""Orderly ends of a sweep before its budget is spent: signals and the time limit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

GRACE = "RAY_JOB_STOP_WAIT_TIME_S"
"""The environment variable that says after how many seconds Ray kills a job that is stopped."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `raysel stop` and `kill`, a terminal that is closed."""

_CAUSES = {
    signal.SIGINT: "stopped by Ctrl-C",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGHUP: "stopped by SIGHUP: the terminal was closed",
}

_Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def on_signals(ask: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP call `ask` with the cause, each time; SIGHUP once, for a terminal
    that is closed sends it twice (the kernel and the shell).

    A job calls it again by itself after half of its grace period, because it would be killed
    in an epoch that takes longer.
    """
    grace = os.environ.get(GRACE, "")
    hung_up = False

    def asked(sign: int, _: object) -> None:
        nonlocal hung_up
        cancel_abort()
        if sign == signal.SIGHUP:
            if hung_up:
                return
            hung_up = True
        cause = _CAUSES[signal.Signals(sign)]
        ask("the job was stopped" if grace else cause)
        if grace.isdigit():
            hurry = threading.Timer(int(grace) / 2, ask, [cause])
            hurry.daemon = True
            hurry.start()

    with handling(asked):
        yield


@contextmanager
def handling(handler: _Handler, signals: Sequence[signal.Signals] = STOPPING) -> Iterator[None]:
    """Have a handler for the signals; SIGHUP stays ignored where it is (`nohup`).

    Outside of the main thread, where Python takes no handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        sign: signal.signal(sign, handler)
        for sign in signals
        if not (sign == signal.SIGHUP and signal.getsignal(sign) == signal.SIG_IGN)
    }
    try:
        yield
    finally:
        for sign, earlier in before.items():
            signal.signal(sign, earlier)


class Handlers:
    """The handlers that are in force now, to be put back whenever Ray has put its own in their
    place: its C++ code takes SIGTERM for a crash (a stack trace, and SIGABRT 3 seconds later),
    and when it is shut down it leaves the system's default."""

    def __init__(self) -> None:
        in_main = threading.current_thread() is threading.main_thread()
        self._handlers = {sign: signal.getsignal(sign) for sign in STOPPING} if in_main else {}

    def restore(self) -> None:
        """Put them back."""
        for sign, handler in self._handlers.items():
            if handler is not None:  # None: not set from Python
                signal.signal(sign, handler)


def cancel_abort() -> None:
    """Cancel the SIGABRT that Ray's handler has ordered if it took a signal before ours did."""
    signal.alarm(0)


@contextmanager
def after_seconds(total: float | None, left: float, ask: Callable[[str], None]) -> Iterator[None]:
    """Call `ask` when the time of all attempts is used up.

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
