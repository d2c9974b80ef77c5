"""The permanent copy of a sweep whose storage is a bucket.

The driver works in a folder of its machine and uploads changes to the bucket: the record's
copy every few seconds and at every trial's end, then the other files. Workers upload checkpoints
and traces themselves. A new machine downloads everything and resumes.

What a lost machine costs: of a SQLite record the events since the last copy, `EVERY_SECONDS` and
the time of an upload. Trials that ran or ended since then report their epochs again from their
checkpoints; only a trial that began since then may begin anew, for the study asks again. With the
record in PostgreSQL nothing is lost.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from raysel.common.errors import OperationalError
from raysel.common.locations import sqlite_url
from raysel.common.object_store import Bucket, said
from raysel.common.user_files import MIB, read_regular
from raysel.record.layout import SweepFolder, write_json
from raysel.record.ownership import holder_of_file
from raysel.record.read_only import read_events
from raysel.record.state import RUNNING, fold_sweep
from raysel.sweep.backup import copy, put_aside, put_back
from raysel.training.checkpoint import InBucket, is_checkpoint

HEAD = "head.json"
"""In the bucket: whose folder it is the copy of, and as of when."""

_NOTE = ".bucket.json"
"""In the folder: the same of the copy that it has, and whether it is this folder's own."""

_FOLDERS = ("code", "source", "report", "best")
_FILES = ("sweep.backup.db", "manifest.json", "split.json", "results.json", "spec.yaml")
"""The files that the driver uploads; the sweep file last, as it marks a complete sweep."""


class BucketReplica:
    """Uploads a sweep's folder to its bucket.

    Args:
        folder: of a sweep whose bucket is known.
        copies_record: the record is a file of the folder.

    Attributes:
        bucket: the sweep's.
    """

    def __init__(self, folder: SweepFolder, copies_record: bool) -> None:
        assert folder.bucket is not None
        self._folder, self.bucket = folder, folder.bucket
        self._copies_record = copies_record
        self._sent: dict[str, tuple[int, int]] = {}
        self._ended: set[str] = set()
        note = _note(folder)
        self._mine = note["head"] if note.get("mine") else uuid.uuid4().hex

    def claim(self) -> None:
        """Make the bucket this folder's replica; its previous owner cannot write any more.

        Raises:
            OperationalError: the bucket does not answer.
        """
        with storage_errors(self.bucket):
            write_json(self._folder.path / _NOTE, {"head": self._mine, "mine": True})
            self._sign()

    def push(self) -> None:
        """Upload changes.

        Raises:
            OperationalError: another machine has taken the sweep over.
            OSError, sqlite3.Error: it cannot be done now.
        """
        head = _head(self.bucket)
        if head.get("head", self._mine) != self._mine:
            name = self._folder.name
            words = "was taken over by another machine; this one writes nothing more"
            raise OperationalError(name, words)
        ended = set(self._ended)  # before the copy: it knows of their end
        if self._copies_record:
            copy(self._folder.record, self._folder.backup)
        for name, stamp in self._new():
            with suppress(FileNotFoundError):  # it is being written anew: next time
                self.bucket.put(self._folder.path / name, name)
                self._sent[name] = stamp
        self._sign()
        for trial in ended:
            checkpoints(self.bucket, trial).remove()
        self._ended -= ended

    def discard_checkpoints(self, trial: str) -> None:
        """The trial's checkpoints may go once the bucket has the record of its end."""
        self._ended.add(trial)

    def undelivered_error(self, problem: Exception) -> OperationalError:
        """The error at the end of a sweep whose bucket could not be updated."""
        folder = self._folder
        words = f"does not answer ({said(problem)}); everything lies in {folder.path} on this"
        return OperationalError(str(self.bucket), f"{words} machine; to send it: {folder.resume()}")

    def _sign(self) -> None:
        head = {"head": self._mine, "at": time.time()}
        self.bucket.put_bytes(json.dumps(head).encode(), HEAD)

    def _new(self) -> Iterator[tuple[str, tuple[int, int]]]:
        root = self._folder.path
        paths = [p for name in _FOLDERS for p in sorted((root / name).rglob("*")) if p.is_file()]
        for path in [*paths, *(root / name for name in _FILES)]:
            if path.name.startswith(".") or not path.is_file():
                continue
            name, facts = path.relative_to(root).as_posix(), path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            if self._sent.get(name) != stamp:
                yield name, stamp


def replica_of(folder: SweepFolder, copies_record: bool) -> BucketReplica | None:
    """Claim the replica of a folder that this process owns; None without a bucket.

    Raises:
        OperationalError: the bucket does not answer.
    """
    if folder.bucket is None:
        return None
    replica = BucketReplica(folder, copies_record)
    replica.claim()
    return replica


def checkpoints(bucket: Bucket, trial: str) -> InBucket:
    """A trial's checkpoints in the sweep's bucket."""
    return InBucket(bucket.below(f"trials/{trial}"))


def fetch(folder: SweepFolder) -> None:
    """Update the folder from the bucket, if the sweep has one.

    If the bucket is the replica of this folder, the folder is newer, except for what workers
    uploaded; if another machine resumed the sweep, its record replaces the one here.

    Raises:
        OperationalError: the bucket does not answer.
    """
    bucket = folder.bucket
    if bucket is None or holder_of_file(folder.lock) is not None:
        return
    with storage_errors(bucket):
        head, note = _head(bucket), _note(folder)
        if not head:
            return
        own = head["head"] == note.get("head")
        known = own and (note.get("mine") or head["at"] == note.get("at"))
        _bring(bucket, folder.path, [n for n in bucket.sizes() if _is_wanted(n, bool(known))])
    if known:
        return
    if folder.backup.is_file():
        if note.get("mine"):
            put_aside(folder, "replaced")
        for suffix in ("", "-wal", "-shm"):
            folder.record.with_name(folder.record.name + suffix).unlink(missing_ok=True)
        put_back(folder)
    write_json(folder.path / _NOTE, head | {"mine": False})


FRESH_SECONDS = 600.0
"""A sweep that another machine brought into its bucket so long ago may still be run there."""


def run_elsewhere(folder: SweepFolder) -> str | None:
    """Why the sweep, just fetched, may run on another machine, as a message; None if it does not.

    Beside a SQLite record there is no lease: all that is known is when its bucket was last
    written to, and that its end was not.
    """
    note = _note(folder)
    if note.get("mine", True) or not folder.record.is_file():
        return None
    ago = time.time() - float(note.get("at", 0.0))
    if ago > FRESH_SECONDS:
        return None
    events = read_events(sqlite_url(folder.record))
    if fold_sweep(events).status != RUNNING:
        return None
    return f"another machine wrote to {folder.bucket} {max(ago, 0.0) / 60:.0f} min ago"


@contextmanager
def storage_errors(bucket: Bucket) -> Iterator[None]:
    """Translate errors of the bucket into one-line `OperationalError`s."""
    try:
        yield
    except OSError as error:
        words = f"cannot be used: {said(error)}; look at its name, the endpoint and the credentials"
        raise OperationalError(str(bucket), words) from error


def _is_wanted(name: str, only_trials: bool) -> bool:
    if name == HEAD or is_checkpoint(name):
        return False
    return name.startswith("trials/") or not only_trials


def _bring(bucket: Bucket, folder: Path, names: Sequence[str]) -> None:
    """Read objects into files; what trials wrote never changes and is read once."""
    wanted = [n for n in names if not (n.startswith("trials/") and (folder / n).exists())]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: bucket.get(name, folder / name), wanted))


def _head(bucket: Bucket) -> dict[str, Any]:
    content = bucket.get_bytes(HEAD)
    return dict(json.loads(content)) if content else {}


def _note(folder: SweepFolder) -> dict[str, Any]:
    try:
        return dict(json.loads(read_regular(folder.path / _NOTE, MIB)))
    except Exception:  # none, or damaged
        return {}
