"""The files of a trial, and how they reach the sweep's storage.

On the driver's machine, or in a shared folder, a trial's files are written in place.
On a node that does not see the sweep's folder the small ones (trace, machine, confusion matrix)
go to the driver with the epoch's row. Where the storage is a bucket they go there too, from every
node, and the checkpoints there alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysel.common.disk_errors import of_the_disk
from raysel.common.object_store import Bucket, said
from raysel.training.checkpoint import Checkpoints, InBucket, InFolder

TOKEN = ".head"
"""In the sweep's folder: rewritten by each driver attempt, so that a node can tell
whether it sees the driver's folder or one of its own with the same name."""

_Stamp = tuple[int, int]  # when it was written, in ns, and its bytes


def sees(folder: Path, token: str | None) -> bool:
    """Whether the sweep's folder on this node is the driver's own."""
    if token is None:
        return True
    try:
        return (folder / TOKEN).read_text(encoding="utf-8") == token
    except OSError:
        return False


def make_folder(sweep: Path, trial: str, whole: bool) -> None:
    """Make a trial's folder.

    Args:
        whole: make those above it too. The driver's own are not made again: they were removed.

    Raises:
        OSError: the sweep's folder is not there, say.
    """
    (sweep / "trials" / trial).mkdir(parents=whole, exist_ok=True)


class TrialFiles:
    """The files of one trial on the node that runs it.

    Args:
        folder: the trial's own.
        bucket: its place in the sweep's bucket, if there is one.
        away: the driver does not see the folder.

    Attributes:
        checkpoints: where the trial's are.
    """

    def __init__(self, folder: Path, bucket: Bucket | None, away: bool) -> None:
        self.folder, self._bucket, self._away = folder, bucket, away
        self.checkpoints: Checkpoints = InFolder(folder) if bucket is None else InBucket(bucket)
        self._in_bucket: dict[str, _Stamp] = {}
        self._at_driver: dict[str, _Stamp] = {}
        self._unkept = False

    def keep(self, state: Mapping[str, Any]) -> str | None:
        """Write a checkpoint, after the files that belong to it.

        Returns:
            The bucket's error, the first time; the trial continues without it.

        Raises:
            OSError: the disk of this node is full, say.
        """
        try:
            self.upload()
            self.checkpoints.save(state)
        except OSError as error:
            if self._bucket is None or of_the_disk(error):
                raise
            first, self._unkept = not self._unkept, True
            return f"no checkpoint is kept: {self._bucket}: {said(error)}" if first else None
        self._unkept = False
        return None

    def upload(self) -> None:
        """Upload new small files to the bucket, if there is one.

        Raises:
            OSError: it does not answer.
        """
        if self._bucket is None:
            return
        for name, stamp in self._new(self._in_bucket).items():
            self._bucket.put(self.folder / name, name)
            self._in_bucket[name] = stamp

    def unsent_files(self) -> dict[str, bytes]:
        """Content by name of the files that the driver does not have yet; nothing where it sees
        them itself."""
        if not self._away:
            return {}
        new = self._new(self._at_driver)
        self._at_driver |= new
        return {name: (self.folder / name).read_bytes() for name in new}

    def leave(self) -> None:
        """Delete the checkpoint of an ended trial from this node's own disk."""
        if self._away and self._bucket is None:
            self.checkpoints.remove()

    def _new(self, known: Mapping[str, _Stamp]) -> dict[str, _Stamp]:
        """The small files that are not as `known`."""
        found = {}
        for path in self.folder.rglob("*"):
            hidden = path.name.startswith((".", "checkpoint"))
            if not hidden and path.is_file():
                name, facts = path.relative_to(self.folder).as_posix(), path.stat()
                found[name] = (facts.st_mtime_ns, facts.st_size)
        return {name: stamp for name, stamp in found.items() if known.get(name) != stamp}
