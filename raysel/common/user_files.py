"""Files that a person names: opened only where they are regular, and read by libraries whose
exceptions nobody can list."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from raysel.common.errors import OperationalError, UserError
from raysel.common.text import first_line, one_line

MIB = 2**20

_SQLITE_HEAD = b"SQLite format 3\0"  # of every database of SQLite's

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


_UNSAFE_ADVICE = (
    "weights_only",
    "allow_pickle",
    "pickled (object) data",
    "Python objects in dtype",
)


def irregular(path: Path) -> str | None:
    """What a path is where it is not a regular file: "a folder", "a named pipe (FIFO)", "a device",
    "a socket"; None of a regular file. Links are followed.

    Opening a named pipe waits for a writer, and a device such as /dev/zero has no end.

    Raises:
        OSError: there is nothing, or a folder above it may not be read.
    """
    mode = path.stat().st_mode
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


def lies_there(path: Path) -> bool:
    """Whether a file or folder is at a path, or something that cannot be looked at."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def lies_below(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, or would lie in it, be there links on the way."""
    return path.resolve().is_relative_to(folder.resolve())


def clear(path: Path) -> None:
    """Remove what lies at a path: a folder with all in it, or a file, or a link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def own_folder(path: Path) -> Path:
    """A folder that is made where there is none. A link in its place is removed, so that nothing is
    written into a folder elsewhere that it leads to; a file is set aside."""
    if path.is_symlink():
        path.unlink()
    elif path.exists() and not path.is_dir():
        set_aside(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def set_aside(path: Path) -> None:
    """Rename what is in the place of something of raysel's own; nothing is lost."""
    path.rename(path.with_name(f"{path.name}.damaged-{time.time_ns()}"))


def nearest_above(path: Path) -> Path:
    """The path itself, or the nearest one above it at which something lies."""
    return next((one for one in (path, *path.parents) if os.path.lexists(one)), Path("/"))


def why_not_writable(folder: Path) -> str | None:
    """Why no file can be made in a folder; None where one can. Tried, for neither root's rights nor
    a file system like /proc shows in the mode."""
    try:
        with tempfile.TemporaryDirectory(dir=folder):
            return None
    except OSError as error:
        return (error.strerror or str(error)).lower()


def why_not_made(folder: Path) -> str | None:
    """Why a folder, or a file in it, cannot be made, in words with the place; None where it can."""
    there = nearest_above(folder.absolute())
    if not there.is_dir():
        return f"{there} is not a folder"
    why = why_not_writable(there)
    return why and f"{why} in {there}"


def not_readable(path: Path, most_bytes: int) -> str | None:
    """Why a file is not opened, before it is handed to a library: it is not there, no regular
    file, or larger than so many bytes; None where it may be."""
    try:
        if kind := irregular(path):
            return f"it is {kind} and no regular file"
        size = path.stat().st_size
    except OSError as error:
        return "there is no such file" if isinstance(error, FileNotFoundError) else reason(error)
    return None if size <= most_bytes else f"it is larger than {most_bytes / MIB:,.0f} MiB"


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file of no more than so many bytes.

    Raises:
        OSError: it is missing, is not a regular file or is larger; `strerror` says so in words.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "its name holds a NUL character", str(path))
    # without O_NONBLOCK the open itself would wait for a pipe's other end
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 (a handle and no path)
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise OSError(errno.EINVAL, f"it is {kind} and no regular file", str(path))
        # of /proc and the like no size is known before
        content = b"" if status.st_size > most_bytes else file.read(most_bytes + 1)
    if max(status.st_size, len(content)) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes / MIB:,.0f} MiB", str(path))
    return content


def no_sqlite_database(file: Path) -> str | None:
    """Why what lies at a path is not an SQLite database; None where it is one by its head."""
    try:
        if file.is_symlink() and not file.exists():
            return f"is a link to {file.readlink()}, which is not there"
        if kind := irregular(file):
            return f"is {kind} and no database"
        with file.open("rb") as stream:
            start = stream.read(len(_SQLITE_HEAD))
        return None if start == _SQLITE_HEAD else "is not an SQLite database"
    except OSError as error:
        return f"cannot be read ({reason(error)})"


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
        passing: exceptions that go through as they are, beside `UserError` and `OperationalError`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (UserError, OperationalError, *passing)):
            raise
        raise refused(reason(error)) from error


def reason(error: BaseException) -> str:
    """Why something cannot be read, from an exception, in a line.

    Advice to read it unsafely (`weights_only=False`, `allow_pickle=True`) is not passed on.
    """
    if any(word in str(error) for word in _UNSAFE_ADVICE):
        return "it contains pickled objects, which can run code and are not loaded"
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, KeyError):
        return f"it lacks {first_line(error)}"
    return first_line(error)


def dangling_link(path: Path) -> str | None:
    """That a path is a link which leads nowhere, in words; None if it is not."""
    if not path.is_symlink() or path.exists():
        return None
    return f"{path} is a link to {path.readlink()}, which is not there; give another folder"
