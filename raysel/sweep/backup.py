"""A consistent copy of a SQLite record, made beside it while it is written to.

What a damaged record can then cost is what happened since the last copy: `EVERY_SECONDS`, or
nothing but running epochs, for a copy is made at every trial's end too. Trials that are run
again give the same numbers.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from raysel.common.errors import OperationalError, user_error
from raysel.common.locations import sqlite_url
from raysel.common.object_store import said
from raysel.mlflow_sync.process import EVENTS_CURSOR, FILES_CURSOR, OUTDATED_CURSOR
from raysel.record.database import make_private
from raysel.record.events import Record
from raysel.record.layout import SweepFolder
from raysel.record.ownership import FileOwner
from raysel.record.read_only import read_events
from raysel.sweep.own_record import others

EVERY_SECONDS = 5.0


class BackupThread:
    """Makes a second copy of what a sweep has written, in a thread of its own, whenever
    something was written.

    Args:
        action: makes the copy; a failed one is tried again.
        notify: called with a message when copying fails and when it works again.
        cannot, meanwhile, back: texts of these messages; the reason follows the first.
        lost: called when the sweep belongs to another driver; nothing is copied after that.

    Attributes:
        problem: the error of the last try; None if it worked.
    """

    def __init__(
        self,
        action: Callable[[], None],
        notify: Callable[[str], None] = lambda _: None,
        lost: Callable[[Exception], None] = lambda _: None,
        cannot: str = "does not answer",
        meanwhile: str = "the sweep goes on and sends later",
        back: str = "answers again; everything was sent",
    ) -> None:
        self._cannot, self._meanwhile, self._back = cannot, meanwhile, back
        self._action, self._notify, self._lost = action, notify, lost
        self.problem: Exception | None = None
        self._news = threading.Event()
        self._at_once = threading.Event()
        self._patience: float | None = None
        self._thread = threading.Thread(target=self._keep, name="backup", daemon=True)
        self._thread.start()

    def written(self, important: bool) -> None:
        """Something was written; important changes are copied at once."""
        self._news.set()
        if important:
            self._at_once.set()

    def close(self, patience: float = 0.0) -> None:
        """Make the last copy; where that fails, try again for `patience` seconds."""
        if self._patience is not None:
            return
        self._patience = patience
        self._news.set()
        self._at_once.set()
        self._thread.join()

    def _keep(self) -> None:
        while self._patience is None:
            self._news.wait()
            self._at_once.wait(EVERY_SECONDS)
            if self._patience is None and not self._done():
                return
        deadline = time.monotonic() + self._patience
        while self._done() and self.problem is not None and time.monotonic() < deadline:
            time.sleep(1.0)

    def _done(self) -> bool:
        """Try to copy; return False if there must be no further try."""
        before, self.problem = self.problem, None
        self._news.clear()
        self._at_once.clear()
        try:
            self._action()
        except OperationalError as taken:
            self._lost(taken)
            return False
        except (sqlite3.Error, OSError) as error:
            self.problem = error
            self._news.set()  # the disk is full, say: tried again after a while
            if before is None:
                self._notify(f"{self._cannot} ({said(error)}); {self._meanwhile}")
            return True
        if before is not None:
            self._notify(self._back)
        return True


def backup_thread_of(
    folder: SweepFolder, notify: Callable[[str], None] = lambda _: None
) -> BackupThread:
    """Keeps a copy of a sweep's SQLite record beside it."""
    return BackupThread(
        lambda: copy(folder.record, folder.backup),
        notify,
        cannot=f"{folder.backup} cannot be written",
        meanwhile="the sweep goes on without a new copy of its record",
        back=f"{folder.backup} is written again",
    )


def copy(source: Path, target: Path) -> None:
    """Copy a SQLite database atomically while it may be written to.

    Raises:
        sqlite3.Error: it cannot be copied, or the copy is damaged.
        OSError: the disk is full, say.
    """
    partial = target.with_name(f".{target.name}.partial")
    # first: where there is none, its folder was renamed, and nothing is left under the old name
    origin = sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True, timeout=30)
    try:
        partial.unlink(missing_ok=True)
        make_private(partial)
        _copy_into(partial, origin)
        partial.replace(target)
    except (sqlite3.Error, OSError):
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    finally:
        origin.close()


def _copy_into(partial: Path, origin: sqlite3.Connection) -> None:
    into = sqlite3.connect(partial)
    try:
        origin.backup(into)
        found = into.execute("PRAGMA integrity_check(1)").fetchone()[0]
    finally:
        into.close()
    if found != "ok":  # the previous copy is better
        raise sqlite3.DatabaseError(found)


def restore(folder: SweepFolder) -> Path:
    """Replace the record by its last copy; return the new path of the damaged one.

    MLflow may then have more than the record: it must be compared, and everything sent again.

    Raises:
        UserError: there is no copy.
        OperationalError: a driver owns the sweep, or the copy is damaged or another sweep's.
    """
    owner = FileOwner(folder.lock, folder.name)
    try:
        return _restore(folder)
    finally:
        owner.release()


def _restore(folder: SweepFolder) -> Path:
    if not folder.backup.is_file():
        raise user_error("--from-backup", f"there is no {folder.backup}")
    _check(folder)
    aside = put_aside(folder, "damaged")
    put_back(folder)
    return aside


def put_aside(folder: SweepFolder, why: str) -> Path:
    """Rename the record to `sweep.db.<why>-<time>`; return the new path."""
    aside = folder.record.with_name(f"sweep.db.{why}-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        part = folder.record.with_name(folder.record.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside


def put_back(folder: SweepFolder) -> None:
    """Make the last copy the record; the old record must have been renamed before."""
    copy(folder.backup, folder.record)
    folder.study.unlink(missing_ok=True)  # it may know more than the copy
    record = Record(sqlite_url(folder.record))
    for cursor, sequence in ((EVENTS_CURSOR, 0), (FILES_CURSOR, 0), (OUTDATED_CURSOR, 1)):
        record.move_cursor(cursor, sequence)
    record.close()


def _check(folder: SweepFolder) -> None:
    """Raise `OperationalError` unless every event of the copy can be read as the sweep's."""
    path = folder.backup
    try:
        events = read_events(sqlite_url(path))
    except OperationalError as error:
        raise OperationalError(
            str(path),
            "this copy of the record is damaged too; restore one of your own, or raysel rm",
        ) from error
    if wrong := others(folder, events):
        raise OperationalError(str(path), f"{wrong}; nothing was changed")
