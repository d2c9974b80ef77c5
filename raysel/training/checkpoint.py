"""A trial's checkpoint: its whole state, in one file, written atomically.

The file is torch's zip format and is read with `weights_only=True`, so a foreign file can
run no code. torch writes a checksum of every record and does not verify it when it reads,
so it is verified here: a flipped bit would otherwise become a weight.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from raysel.common.user_files import reason

NAME = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"


class DamagedCheckpoint(Exception):
    """The file is there but cannot be read as a checkpoint."""


class Checkpoints(Protocol):
    """Storage of one trial's checkpoints; the newest and the previous one are kept."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Save `state`, which holds its `epoch`, as the newest."""
        ...

    def newest(self) -> tuple[dict[str, Any] | None, str | None]:
        """The newest that is intact, and what is wrong with those after it."""
        ...

    def remove(self) -> None:
        """Delete all of them."""
        ...


class InFolder:
    """Checkpoints in a trial's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, state: Mapping[str, Any]) -> None:
        """See `save`."""
        save(self._folder, state)

    def newest(self) -> tuple[dict[str, Any] | None, str | None]:
        """See `newest`."""
        return newest(self._folder)

    def remove(self) -> None:
        """See `remove`."""
        remove(self._folder)


def save(folder: Path, state: Mapping[str, Any]) -> Path:
    """Write `state` as the folder's checkpoint; the one before stays as the previous one.

    Raises:
        OSError: the disk is full, say; the checkpoint is the one before.
    """
    import torch  # noqa: PLC0415 - who only looks at a sweep does not wait for it

    folder.mkdir(exist_ok=True)  # not those above: they would have been moved away
    partial = folder / f".{NAME}.{os.getpid()}"
    try:
        with partial.open("wb") as stream:  # torch's own writer would hide the system's error
            torch.save(
                dict(state), stream
            )  # no fsync: a file that a power cut truncates is found damaged
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if (folder / NAME).exists():
        (folder / NAME).replace(folder / PREVIOUS)
    partial.replace(folder / NAME)
    return folder / NAME


def newest(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The newest checkpoint that is intact, and what is wrong with those after it."""
    damage = None
    for name in (NAME, PREVIOUS):
        try:
            state = load(folder, name)
        except DamagedCheckpoint as error:
            damage = damage or str(error)
            continue
        if state is not None:
            return state, damage
    return None, damage


def load(folder: Path, name: str = NAME) -> dict[str, Any] | None:
    """The folder's checkpoint on the CPU, None if there is none.

    Raises:
        DamagedCheckpoint: the file cannot be read.
    """
    path = folder / name
    return read(path, str(path)) if path.exists() else None


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


def remove(folder: Path) -> None:
    """Delete the folder's checkpoints, if it has any."""
    for name in (NAME, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
