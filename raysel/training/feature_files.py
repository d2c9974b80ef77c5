"""Stored features on a node's disk: the frozen layers' output of each example of a part, written
whole or not at all, mapped into memory by every trial there that has those layers.

A file is a folder named by a hash of everything that determines its numbers. It holds
`features.bin`, one row after the other, and `features.json`. Processes that want the same one at
once wait for the one that makes it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from raysel.common.disk_errors import of_a_file

VERSION = 1
"""Part of every key: raised when the same input would give other numbers."""

MOST_BYTES = 32 * 2**30
"""Of all files of a folder."""

DISK_SHARE, MEMORY_SHARE = 0.5, 0.25
"""Of the free disk, and of the machine's memory, that one file may have: what is read in every
epoch should stay in the system's page cache."""

UNUSED_SECONDS = 24 * 3600.0
"""After which a file may be removed for another one: no trial that uses it can still run, for its
time is set at every epoch."""

WAIT_SECONDS = 1800.0
"""How long a process waits for the one that makes the file."""

_DATA, _FACTS = "features.bin", "features.json"
_CRC_BYTES = 1 << 24


class NotStored(Exception):
    """The features cannot be kept on this node; the message is one line."""


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """An opened file of n rows.

    Attributes:
        folder: where it is.
        rows: uint8 [n, bytes], mapped: what is not read takes no memory.
        shape, dtype: of a row.
    """

    folder: Path
    rows: NDArray[np.uint8]
    shape: tuple[int, ...]
    dtype: torch.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, which: NDArray[np.int64]) -> Tensor:
        """[m, *shape]: a copy of the chosen rows, on the CPU."""
        copied = torch.from_numpy(self.rows[which])
        return copied.view(self.dtype).reshape(len(which), *self.shape)

    def touch(self) -> None:
        """Note that it is in use."""
        _touch(self.folder)


@dataclass(frozen=True)
class FeatureSpec:
    """What is to be stored.

    Attributes:
        key: of everything that determines the numbers.
        count: rows.
        shape, dtype: of a row.
    """

    key: str
    count: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        size = torch.empty((), dtype=self.dtype).element_size()
        return int(torch.Size(self.shape).numel()) * size

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return self.count * self.row_bytes


def find_features(folder: Path, spec: FeatureSpec) -> FeatureFile | None:
    """The stored features; None if there are none, or they are damaged."""
    own = folder / spec.key
    try:
        facts = json.loads((own / _FACTS).read_text(encoding="utf-8"))
        if (own / _DATA).stat().st_size != spec.bytes or _checksum(own / _DATA) != facts["crc32"]:
            return None
        rows = np.memmap(own / _DATA, np.uint8, "r", shape=(spec.count, spec.row_bytes))
    except Exception:  # NumPy and JSON raise exceptions of many types for a damaged file
        return None
    _touch(own)
    return FeatureFile(own, rows, spec.shape, spec.dtype)


def open_features(
    folder: Path,
    spec: FeatureSpec,
    compute: Callable[[], Iterator[Tensor]],
    wait: float = WAIT_SECONDS,
) -> FeatureFile:
    """The stored features, made if they are not there.

    Args:
        folder: of all files.
        compute: gives the rows in order, some at a time, on any device.
        wait: seconds to wait for another process that makes them.

    Raises:
        NotStored: the disk is full or cannot be written, the file would be too large, or the wait
            was too long.
    """
    found = find_features(folder, spec)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{spec.key}.lock", timeout=wait):
            found = find_features(folder, spec)  # another process may have made it meanwhile
            if found is None:
                _make_room(folder, spec.bytes)
                _build(folder, spec, compute)
                found = find_features(folder, spec)
    except Timeout:
        raise NotStored(f"another process did not end within {wait:.0f} s") from None
    except OSError as error:
        raise NotStored(of_a_file(error) or str(error)) from None
    if found is None:
        raise NotStored(f"{folder / spec.key} is not what was written to it")
    return found


def _build(folder: Path, spec: FeatureSpec, compute: Callable[[], Iterator[Tensor]]) -> None:
    own, partial = folder / spec.key, folder / f"{spec.key}.partial"
    for left_over in (partial, own):  # of a process that was killed, or damaged
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir()
    try:
        checksum = 0
        with (partial / _DATA).open("wb") as file:
            for rows in compute():
                data = rows.cpu().contiguous().view(torch.uint8).numpy().tobytes()
                checksum = zlib.crc32(data, checksum)
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        facts = {"version": VERSION, "crc32": checksum}
        (partial / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
        partial.rename(own)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _make_room(folder: Path, size: int) -> None:
    """Remove files that nobody uses, the oldest first, until another one may be there."""
    most = min(
        DISK_SHARE * shutil.disk_usage(folder).free,
        MEMORY_SHARE * psutil.virtual_memory().total,
    )
    if size > most:
        raise NotStored(f"{size / 1e9:.1f} GB are more than the {most / 1e9:.1f} GB for one part")
    kept = sorted((_used_at(own), own) for own in folder.iterdir() if (own / _FACTS).is_file())
    total = size + sum(_size(own) for _, own in kept)
    for used, own in kept:
        if total <= MOST_BYTES:
            return
        if time.time() - used > UNUSED_SECONDS:
            total -= _size(own)
            shutil.rmtree(own, ignore_errors=True)
    if total > MOST_BYTES:
        raise NotStored(f"{folder} has no more than {MOST_BYTES / 1e9:.0f} GB for all parts")


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while data := file.read(_CRC_BYTES):
            checksum = zlib.crc32(data, checksum)
    return checksum


def _size(own: Path) -> int:
    try:
        return (own / _DATA).stat().st_size
    except OSError:
        return 0


def _used_at(own: Path) -> float:
    try:
        return (own / _FACTS).stat().st_mtime
    except OSError:
        return 0.0


def _touch(own: Path) -> None:
    try:
        os.utime(own / _FACTS)
    except OSError:  # another user's: it is not removed by this one either
        return
