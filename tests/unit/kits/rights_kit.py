"""Files that this user may not read, also where the tests run as root."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PASS_OVER_RIGHTS = (1 << 1) | (1 << 2)
"""The capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, with which root ignores a mode."""

_VERSION_3 = 0x20080522


@contextmanager
def refused(path: Path, mode: int = 0) -> Iterator[None]:
    """A file or folder with this mode, in force for this thread until the end of the block."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with _without_privilege():
            yield
    finally:
        path.chmod(before)


@contextmanager
def _without_privilege() -> Iterator[None]:
    """What root has and other users lack is taken from this thread, and given back."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    assert libc.capget(header, sets) == 0
    effective = sets[0]
    sets[0] = effective & ~_PASS_OVER_RIGHTS
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0
