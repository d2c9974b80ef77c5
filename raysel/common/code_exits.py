"""What the user's code raises beyond `Exception`: `sys.exit()`, subclasses of KeyboardInterrupt.

Whoever calls such code (a model, a strategy, a reader) is prepared for every `Exception`; a
`SystemExit` would pass all of that and end raysel without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from raysel.common.text import first_line

_HANDLERS = ("raysel", "ray")
"""Packages whose signal handlers raise SystemExit."""


class CodeExit(RuntimeError):
    """The user's code raised what is no `Exception`; the message says what."""


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Make a `CodeExit` of whatever passes `except Exception`, but not of an interrupt.

    Raises:
        CodeExit: code within raised SystemExit, GeneratorExit or the like.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or is_interrupt(error):
            raise
        raise CodeExit(f"the code raised {described(error)}") from error


def is_interrupt(error: BaseException) -> bool:
    """Whether it comes from Ctrl-C or from a signal's handler, and not from the code that ran."""
    if type(error) is KeyboardInterrupt:
        return True
    if isinstance(error, Exception):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return str(module).partition(".")[0] in _HANDLERS


def described(error: BaseException) -> str:
    """Its type and the first line of its message: `SystemExit: 3`."""
    kind, words = type(error).__name__, first_line(error)
    return kind if words == kind else f"{kind}: {words}"
