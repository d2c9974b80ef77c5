"""Files that a person names: opened only where they are regular, and read by libraries whose
exceptions nobody can list."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from raysel.errors import Trouble, UserError
from raysel.text import first_line, one_line

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def irregular(path: Path) -> str | None:
    """What a path is where it is no regular file: "a folder", "a named pipe (FIFO)", "a device",
    "a socket"; None of a regular file. Links are followed.

    Opening a named pipe waits for a writer, and a device such as /dev/zero has no end.

    Raises:
        OSError: there is nothing, or a folder above it may not be read.
    """
    mode = path.stat().st_mode
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


@contextmanager
def any_error_as(
    refused: Callable[[str], Exception], passing: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into one exception of ours.

        with any_error_as(lambda reason: user_error("task.data", f"{path} is damaged: {reason}")):
            content = library.load(path)

    Decoders raise what their arithmetic gives (`struct.error`, `zlib.error`, `AssertionError`,
    …), which no list of exceptions holds. An interrupt is none of them and goes through.

    Args:
        refused: makes the exception from the reason in words.
        passing: exceptions that go through as they are, beside `UserError` and `Trouble`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (UserError, Trouble, *passing)):
            raise
        raise refused(reason(error)) from error


def reason(error: BaseException) -> str:
    """Why something cannot be read, from an exception, in a line."""
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, KeyError):
        return f"it lacks {first_line(error)}"
    return first_line(error)
