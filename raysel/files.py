"""Reading the files that a person names: regular files only, and with a bound on their size.

A pipe would be waited for without end, and a device has no end; opening one may itself hang.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MIB = 2**20

_KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path, most_bytes: int) -> None:
    """Look at a file without opening it.

    Args:
        most_bytes: the largest size that is accepted.

    Raises:
        OSError: it is missing, is no regular file or is too large; `strerror` says so in words.
    """
    _check(_plain(path).stat(), path, most_bytes)


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file; arguments and errors as in `check_regular`."""
    # without O_NONBLOCK the open itself would wait for a pipe's other end
    handle = os.open(_plain(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 (a handle, not a path)
        _check(os.fstat(handle), path, most_bytes)
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:  # of /proc and the like no size is known before
        raise _too_large(path, most_bytes)
    return content


def _plain(path: Path) -> Path:
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "its name holds a NUL character", str(path))
    return path


def _check(status: os.stat_result, path: Path, most_bytes: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind} and no regular file", str(path))
    if status.st_size > most_bytes:
        raise _too_large(path, most_bytes)


def _too_large(path: Path, most_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {most_bytes / MIB:,.0f} MiB", str(path))
