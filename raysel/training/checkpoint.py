"""A trial's checkpoint: its whole state, in one file, written atomically, in a folder or a bucket.

The file is torch's zip format and is read with `weights_only=True`, so a foreign file can
run no code. torch writes a checksum of every record and does not verify it when it reads,
so it is verified here: a flipped bit would otherwise become a weight.
"""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysel.common.object_store import Bucket, said
from raysel.common.user_files import reason

NAME = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"

_OBJECT = re.compile(r"checkpoint-\d{6}\.pt")


class DamagedCheckpoint(Exception):
    """The file is there but cannot be read as a checkpoint."""


class Checkpoints(ABC):
    """Storage of one trial's checkpoints; the newest and the previous one are kept."""

    @abstractmethod
    def save(self, state: Mapping[str, Any]) -> None:
        """Save `state`, which holds its `epoch`, as the newest.

        Raises:
            OSError: the disk is full, or the storage does not answer; the checkpoint is the one
                before.
        """

    @abstractmethod
    def remove(self) -> None:
        """Delete all of them.

        Raises:
            OSError: the storage does not answer.
        """

    @abstractmethod
    def _names(self) -> list[str]:
        """The files that are there, the newest first."""

    @abstractmethod
    def _load(self, name: str) -> dict[str, Any]:
        """One of them.

        Raises:
            DamagedCheckpoint: it cannot be read as a checkpoint.
        """

    def newest(self) -> tuple[dict[str, Any] | None, str | None]:
        """The newest that is intact, and what is wrong with those after it, an error of the
        storage too: a trial that starts again gives the same numbers."""
        damage = None
        try:
            for name in self._names():
                try:
                    return self._load(name), damage
                except DamagedCheckpoint as error:
                    damage = damage or str(error)
        except OSError as error:
            damage = damage or f"no checkpoint can be read from {self}: {said(error)}"
        return None, damage


class InFolder(Checkpoints):
    """Checkpoints in a trial's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def save(self, state: Mapping[str, Any]) -> None:
        """Save `state` as the newest; the one before stays as the previous one."""
        folder = self._folder
        folder.mkdir(exist_ok=True)  # not those above: they would have been moved away
        partial = folder / f".{NAME}.{os.getpid()}"
        try:
            _write(state, partial)  # no fsync: a file that a power cut truncates is found damaged
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if (folder / NAME).exists():
            (folder / NAME).replace(folder / PREVIOUS)
        partial.replace(folder / NAME)

    def remove(self) -> None:
        """Delete them, if there are any."""
        for name in (NAME, PREVIOUS):
            (self._folder / name).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        return [name for name in (NAME, PREVIOUS) if (self._folder / name).exists()]

    def _load(self, name: str) -> dict[str, Any]:
        return read(self._folder / name, str(self._folder / name))


class InBucket(Checkpoints):
    """Checkpoints in a trial's place in a bucket: an object an epoch, because a bucket has no
    rename; each is written atomically."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def __str__(self) -> str:
        return str(self._bucket)

    def save(self, state: Mapping[str, Any]) -> None:
        """Save `state` as the newest; the previous one is kept, all others are deleted."""
        name = f"checkpoint-{state['epoch']:06d}.pt"
        with tempfile.TemporaryDirectory(prefix="raysel-") as folder:
            file = Path(folder) / name
            _write(state, file)
            self._bucket.put(file, name)
        others = [other for other in self._names() if other != name]
        before = max((other for other in others if other < name), default=None)
        self._bucket.delete(other for other in others if other != before)

    def remove(self) -> None:
        """Delete all of them."""
        self._bucket.delete(self._names())

    def _names(self) -> list[str]:
        there = (name for name in self._bucket.sizes() if "/" not in name and is_checkpoint(name))
        return sorted(there, reverse=True)

    def _load(self, name: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="raysel-") as folder:
            file = Path(folder) / name
            self._bucket.get(name, file)
            return read(file, f"{self._bucket}/{name}")


def is_checkpoint(name: str) -> bool:
    """Whether an object of a trial in a bucket is one of its checkpoints."""
    return _OBJECT.fullmatch(name.rpartition("/")[2]) is not None


def _write(state: Mapping[str, Any], file: Path) -> None:
    import torch  # noqa: PLC0415 - who only looks at a sweep does not wait for it

    with file.open("wb") as stream:  # torch's own writer would hide the system's error
        torch.save(dict(state), stream)


def read(path: Path, called: str) -> dict[str, Any]:
    """A checkpoint file's content, on the CPU; `called` is its name in errors.

    Raises:
        DamagedCheckpoint: the file cannot be read.
    """
    import torch  # noqa: PLC0415 - who only looks at a sweep does not wait for it

    try:
        with zipfile.ZipFile(path) as records:
            if (broken := records.testzip()) is not None:
                raise ValueError(f"the checksum of {broken} does not fit")
            if any(record.external_attr for record in records.infolist()):
                raise ValueError("a record is marked as a folder")  # torch reads those as garbage
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises many types
        raise DamagedCheckpoint(f"{called} is damaged: {reason(error)}") from error
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"{called} holds no checkpoint")
    return state
