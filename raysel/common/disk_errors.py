"""What is wrong with a disk or a file, in words, from an exception."""

from __future__ import annotations

import errno
from collections.abc import Iterator

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
        if isinstance(cause, OSError) and cause.filename is not None and cause.strerror:
            return f"{cause.filename}: cannot be read or written ({cause.strerror})"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
