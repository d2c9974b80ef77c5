"""What ends a sweep in order before its budget does: signals and the clock."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_signals(ask: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `ask` with the cause, each time."""

    def asked(sign: int, _: object) -> None:
        ask("stopped by Ctrl-C" if sign == signal.SIGINT else "stopped by SIGTERM")

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
