"""Watch whether the files of a running sweep are still the ones that it writes to.

A file that is removed or renamed stays open: SQLite continues to commit into it, and everything
since then would be lost silently at the driver's end. The driver therefore compares device and
inode of the record, of its log, of the folder and of the trials' with what it opened, at every
event and every second; what was removed is written anew from the connection that is still open.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from raysel.common.errors import OperationalError
from raysel.common.locations import resume_command
from raysel.record.database import make_private
from raysel.record.layout import SweepFolder
from raysel.record.mlflow_page import FILE as MLFLOW_PAGE
from raysel.sweep.backup import put_aside

EVERY_SECONDS = 1.0

_AGAIN_SECONDS = 0.2  # a file server that was busy answers the second time
_LOGS = ("-wal", "-shm")

_Identity = tuple[int, int]


class StorageGone(OperationalError):
    """The sweep's files were removed or replaced; nothing more is written to them.

    Attributes:
        record_is_whole: only the trials' files are gone; the record can take the sweep's end.
    """

    record_is_whole = False


class StorageWatch:
    """Watches the files of a sweep that this process owns, from a thread of its own.

    Args:
        folder: the sweep's.
        has_record: the record is a file of the folder.
        write_files: writes the folder's other files (the sweep file, …), where they are lacking.
        failed: called with what happened, once.
    """

    def __init__(
        self,
        folder: SweepFolder,
        has_record: bool,
        write_files: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._folder, self._has_record = folder, has_record
        self._write_files, self._failed = write_files, failed
        self._lock = threading.Lock()
        self._gone: StorageGone | None = None
        self._closed = False
        self._ended = threading.Event()
        self._opened = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY)
        self._trials = os.open(folder.trials, os.O_RDONLY | os.O_DIRECTORY)
        # opened now: a connection made later would open whatever lies there then
        self._connection = _connection(folder.record) if has_record else None
        self._known = {path: _identity(path) for path in self._paths()}
        self._thread = threading.Thread(target=self._watch, name="storage-watch", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Compare the files on disk with the opened ones.

        Raises:
            StorageGone: it is something else, or nothing, or cannot be written any more.
        """
        if gone := self.gone():
            raise gone

    def gone(self) -> StorageGone | None:
        """What happened to the files, and what was done about it; None while they exist."""
        with self._lock:
            if (
                self._gone is None
                and not self._closed
                and self._differs()
                and self._still_differs()
            ):
                self._gone = self._found()
            return self._gone

    def close(self) -> None:
        """Watch no longer; what workers left under a name that the folder has no more goes."""
        if self._closed:
            return
        self._ended.set()
        self._thread.join()
        self.gone()  # for who asks later
        self._closed = True
        if self._gone is not None and self._now_at() is not None:
            _remove_what_workers_left(self._folder)
        if self._connection is not None:
            self._connection.close()
        os.close(self._opened)
        os.close(self._trials)

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            if gone := self.gone():
                self._failed(gone)
                return

    def _paths(self) -> list[Path]:
        record = self._folder.record
        files = [record, *(record.with_name(record.name + log) for log in _LOGS)]
        return [self._folder.path, *(files if self._has_record else []), self._folder.trials]

    def _differs(self) -> bool:
        if any(_identity(path) != known for path, known in self._known.items()):
            return True
        return _is_read_only(self._folder.path)

    def _still_differs(self) -> bool:
        time.sleep(_AGAIN_SECONDS)
        return self._differs()

    def _found(self) -> StorageGone:
        """Write removed files again, and return what happened."""
        folder = self._folder
        changed = [path for path, known in self._known.items() if _identity(path) != known]
        if not changed:
            words = "its disk became read-only while the sweep ran; make it writable, then go on: "
            return StorageGone(str(folder.path), words + folder.resume())
        if changed == [folder.trials]:
            return self._without_trials()
        if folder.path not in changed:
            what = "was removed or replaced while the sweep ran"
            return self._written_anew(changed[0], what, "")
        if (now_at := self._now_at()) is not None:
            way_on = f"raysel resume {now_at.name}"
            if folder.bucket is None:
                way_on = resume_command(now_at.name, str(now_at.parent))
            words = f"was renamed to {now_at} while the sweep ran; go on there: {way_on}"
            return StorageGone(str(folder.path), words)
        if not self._was_removed() or (folder.path.exists() and not _made_by_workers(folder)):
            words = "is another folder than the sweep began in (is its disk mounted?); bring it "
            return StorageGone(str(folder.path), f"{words}back, then go on: {folder.resume()}")
        what = "was removed while the sweep ran"
        lost = "; checkpoints and traces are lost"
        return self._written_anew(folder.path, what, lost)

    def _without_trials(self) -> StorageGone:
        """Checkpoints and traces lie elsewhere, or nowhere; the record is whole."""
        folder = self._folder
        if (now_at := _path_of(self._trials)) is not None:
            words = f"was moved to {now_at} while the sweep ran; move it back, then go on: "
        else:
            words = "was removed while the sweep ran; checkpoints and traces are lost; go on: "
        gone = StorageGone(str(folder.trials), words + folder.resume())
        gone.record_is_whole = True
        return gone

    def _written_anew(self, place: Path, what: str, lost: str) -> StorageGone:
        folder = self._folder
        try:
            self._write_anew()
        except (OSError, sqlite3.Error) as error:
            way_on = folder.resume(*(["--from-backup"] if folder.backup.is_file() else []))
            words = f"{what}, and the record cannot be written anew ({error}); then go on: {way_on}"
            return StorageGone(str(place), words)
        words = f"{what}; the record was written anew from what the driver had{lost}; go on: "
        return StorageGone(str(place), words + folder.resume())

    def _write_anew(self) -> None:
        folder = self._folder
        folder.path.mkdir(parents=True, exist_ok=True)
        if self._connection is not None:
            partial = folder.record.with_name(f".{folder.record.name}.partial")
            partial.unlink(missing_ok=True)
            make_private(partial)
            into = sqlite3.connect(partial)
            try:
                self._connection.backup(into)
            finally:
                into.close()
            self._make_room()
            partial.replace(folder.record)
        self._write_files()

    def _make_room(self) -> None:
        """Another file under the record's name is kept; a log would be applied to the new one."""
        record = self._folder.record
        if _identity(record) not in (None, self._known[record]):
            put_aside(self._folder, "replaced")
        for log in _LOGS:
            record.with_name(record.name + log).unlink(missing_ok=True)

    def _now_at(self) -> Path | None:
        """Where the folder lies that was opened, if it is to be found under another name."""
        path = _path_of(self._opened)
        return path if path != self._folder.path else None

    def _was_removed(self) -> bool:
        with suppress(OSError):
            path = Path(f"/proc/self/fd/{self._opened}").readlink()
            if path.name.endswith(" (deleted)"):
                return True
        return os.fstat(self._opened).st_nlink == 0


def _path_of(opened: int) -> Path | None:
    """Where the folder lies now that was opened; None where it was removed."""
    try:
        path = Path(f"/proc/self/fd/{opened}").readlink()
    except OSError:  # no Linux
        return None
    found = os.fstat(opened)
    return path if _identity(path) == (found.st_dev, found.st_ino) else None


def _connection(record: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(record, timeout=30, check_same_thread=False)
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # this opens the log too
    return connection


def _identity(path: Path) -> _Identity | None:
    """Device and inode; None where there is nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _made_by_workers(folder: SweepFolder) -> bool:
    """Whether what lies under a sweep's name is a folder that a trial or the exporter made again
    for its own files, and no other sweep's."""
    return not (folder.spec.exists() or folder.record.exists())


def _remove_what_workers_left(folder: SweepFolder) -> None:
    """Under the old name of a renamed folder: Ray's files, and what a trial and the exporter of
    the study for dashboards wrote since then."""
    if not _made_by_workers(folder):
        return
    for path in (folder.tune, folder.trials):
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        for name in (f"{folder.study.name}*", MLFLOW_PAGE):  # with what SQLite keeps beside it
            for file in folder.path.glob(name):
                file.unlink()
        folder.path.rmdir()
