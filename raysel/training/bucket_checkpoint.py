"""Checkpoints of a trial in a bucket: one object per epoch, because a bucket has no rename.

An object is written atomically; its checksums are verified when it is
read, as with files.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysel.common.object_store import Bucket, said
from raysel.training.checkpoint import DamagedCheckpoint, read

_NAME = re.compile(r"checkpoint-\d{6}\.pt")


def is_checkpoint(name: str) -> bool:
    """Whether an object of a trial is one of its checkpoints."""
    return _NAME.fullmatch(name.rpartition("/")[2]) is not None


class InBucket:
    """Checkpoints in a trial's place in a bucket; see `checkpoint.Checkpoints`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def save(self, state: Mapping[str, Any]) -> None:
        """Save `state` as the newest; the previous one is kept, all others are deleted.

        Raises:
            OSError: the bucket does not answer, or the disk is full; the checkpoint is the one
                before.
        """
        import torch  # noqa: PLC0415 - who only looks at a sweep does not wait for it

        name = f"checkpoint-{state['epoch']:06d}.pt"
        with tempfile.TemporaryDirectory(prefix="raysel-") as folder:
            file = Path(folder) / name
            with file.open("wb") as stream:
                torch.save(dict(state), stream)
            self._bucket.put(file, name)
        others = [other for other in self._names() if other != name]
        before = max((other for other in others if other < name), default=None)
        self._bucket.delete(other for other in others if other != before)

    def newest(self) -> tuple[dict[str, Any] | None, str | None]:
        """The newest that is intact, and what is wrong with those after it, the bucket's own
        an error too: a trial that begins anew gives the same numbers."""
        damage = None
        try:
            for name in sorted(self._names(), reverse=True):
                try:
                    return self._read(name), damage
                except DamagedCheckpoint as error:
                    damage = damage or str(error)
        except OSError as error:
            damage = damage or f"no checkpoint can be read from {self._bucket}: {said(error)}"
        return None, damage

    def remove(self) -> None:
        """Delete all of them.

        Raises:
            OSError: the bucket does not answer.
        """
        self._bucket.delete(self._names())

    def _names(self) -> list[str]:
        return [name for name in self._bucket.sizes() if is_checkpoint(name) and "/" not in name]

    def _read(self, name: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="raysel-") as folder:
            file = Path(folder) / name
            self._bucket.get(name, file)
            return read(file, f"{self._bucket}/{name}")
