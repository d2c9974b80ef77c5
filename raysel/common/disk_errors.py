"""What is wrong with a disk or a file, in words with the remedy, from an exception."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_DISK = {
    errno.ENOSPC: "the disk is full; make space",
    errno.EDQUOT: "the disk quota is used up; make space",
    errno.EFBIG: "a file became larger than is allowed",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk cannot be read or written",
    errno.ESTALE: "the file server has lost the folder; mount it again",
    errno.ENOTCONN: "the file system does not answer; mount it again",
    errno.ENODEV: "the disk is gone; mount it again",
    errno.ENXIO: "the disk is gone; mount it again",
}


def of_the_disk(error: BaseException | None) -> str | None:
    """The disk error as a message; None if the error is of another kind."""
    for cause in _causes(error):
        for number, words in _DISK.items():
            # pyarrow and safetensors give the errno in their message only
            texts = (f"[Errno {number}]", f"(os error {number})")
            if getattr(cause, "errno", None) == number or any(t in str(cause) for t in texts):
                text = " ".join(str(cause).split())
                return f"{words} ({text[-300:]})"
    return None


def of_a_file(error: BaseException | None) -> str | None:
    """The same, or which file cannot be used and why: its rights, a folder that is gone."""
    if words := of_the_disk(error):
        return words
    for cause in _causes(error):
        if isinstance(cause, FileNotFoundError) and cause.filename is None and _is_nowhere():
            return "the working folder was removed or renamed: change into one that is there"
        if isinstance(cause, OSError) and cause.filename is not None and cause.strerror:
            words = cannot("be read or written", cause, Path(os.fsdecode(cause.filename)))
            return f"{os.fsdecode(cause.filename)}: {words}"
    return None


def cannot(what: str, error: OSError, path: Path) -> str:
    """Why a file or folder cannot "be read" or "be written", with what to do about it.

    Args:
        path: what was refused; the folder above that bars the way is found.
    """
    why = error.strerror or str(error)
    if is_denied(error):
        return f"cannot {what} ({why.lower()}): {_who_may(path)}"
    return f"cannot {what} ({_DISK.get(error.errno or 0, why)})"


def refused_access(path: Path, mode: int) -> OSError | None:
    """What opening a file would answer this user; None where it may be opened.

    The file is not opened for it: as soon as a process closes any handle of an SQLite database it
    loses the locks of its connections to it (POSIX), and another process's last connection takes
    the log away below them.

    Args:
        mode: `os.R_OK`, or with `os.W_OK`.
    """
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        effective = os.access in os.supports_effective_ids  # whose rights an opening has
        if os.access(path, mode, effective_ids=effective):
            return None
        read_only = mode & os.W_OK and os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError as error:
        return error
    kind = errno.EROFS if read_only else errno.EACCES
    return OSError(kind, os.strerror(kind), str(path))


def is_denied(error: BaseException) -> bool:
    """Whether it was refused to this user, and not gone or damaged."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM)


def _is_nowhere() -> bool:
    """Whether the working folder is gone, against which every relative path is read."""
    try:
        os.getcwd()  # noqa: PTH109 (a Path would ask no less)
    except FileNotFoundError:
        return True
    return False


def is_absent(error: OSError) -> bool:
    """Whether nothing is there, rather than something that cannot be looked at."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def _who_may(path: Path) -> str:
    for there in (path, *path.absolute().parents):
        with suppress(OSError):
            found = there.stat()
            break
    owner, own = found.st_uid, stat.S_IRWXU if stat.S_ISDIR(found.st_mode) else 0o600
    if owner == os.geteuid():
        if found.st_mode & own == own:  # an attribute, a rule of the system's, a file server's
            return f"look at the rights of {there} and at how its disk is mounted"
        return f"give yourself the rights: chmod u+rwX {there}"
    name = str(owner)
    with suppress(KeyError):
        name = pwd.getpwuid(owner).pw_name
    return f"{there} belongs to {name}; run raysel as {name}, or let {name} give you the rights"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
