"""What the user's code raises beyond `Exception`: `sys.exit()`, `raise KeyboardInterrupt`.

Whoever calls such code (a model, a strategy, a reader) is prepared for every `Exception`; a
`SystemExit` would pass all of that and end raysel without a word.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from raysel.common.text import first_line

MODULE_PREFIX = "raysel_code_"
"""Before the names of modules that are the user's own files."""

_RAISE = dis.opmap["RAISE_VARARGS"]

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
    if isinstance(error, Exception):
        return False
    origin = _origin(error)
    module = str(origin.tb_frame.f_globals.get("__name__", "")) if origin is not None else ""
    if type(error) is KeyboardInterrupt:
        return not (origin and module.startswith(MODULE_PREFIX) and _is_raise(origin))
    return module.partition(".")[0] in _HANDLERS


def _origin(error: BaseException) -> TracebackType | None:
    """Where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _is_raise(trace: TracebackType) -> bool:
    """Whether a `raise` statement was executed there; Ctrl-C falls between two statements."""
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE


def described(error: BaseException) -> str:
    """Its type and the first line of its message: `SystemExit: 3`."""
    kind, words = type(error).__name__, first_line(error)
    return kind if words == kind else f"{kind}: {words}"
