"""A consistent copy of a SQLite record, made beside it while it is written to.

What a damaged record can then cost is what happened since the last copy: `EVERY_SECONDS`, or
nothing but running epochs, for a copy is made at every trial's end too. Trials that are run
again give the same numbers.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

from raysel.errors import Trouble, user_error
from raysel.places import sqlite_url
from raysel.sweep.folder import SweepFolder
from raysel.tracking.owner import FileOwner
from raysel.tracking.process import EVENTS_CURSOR, FILES_CURSOR, OUTDATED_CURSOR
from raysel.tracking.reading import read_events
from raysel.tracking.record import Record

EVERY_SECONDS = 5.0


class Keeper:
    """Copies the record from a thread of its own, whenever something was written."""

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._news = threading.Event()
        self._at_once = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._keep, name="backup", daemon=True)
        self._thread.start()

    def written(self, important: bool) -> None:
        """Something was written; what is important is copied at once."""
        self._news.set()
        if important:
            self._at_once.set()

    def close(self) -> None:
        """Make the last copy."""
        self._ended = True
        self._news.set()
        self._at_once.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._ended:
            self._news.wait()
            self._at_once.wait(EVERY_SECONDS)
            self._news.clear()
            self._at_once.clear()
            try:
                copy(self._folder.record, self._folder.backup)
            except (sqlite3.Error, OSError):
                self._news.set()  # the disk is full, say: tried again with the next event
                time.sleep(0.0 if self._ended else EVERY_SECONDS)


def copy(source: Path, target: Path) -> None:
    """Copy a SQLite database that may be written to meanwhile, whole or not at all.

    Raises:
        sqlite3.Error: it cannot be copied, or the copy is damaged.
        OSError: the disk is full, say.
    """
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    origin = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)
    try:
        into = sqlite3.connect(partial)
        try:
            origin.backup(into)
            answer = into.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if answer != "ok":  # the copy before is worth more
                raise sqlite3.DatabaseError(answer)
        finally:
            into.close()
    finally:
        origin.close()
    partial.replace(target)


def restore(folder: SweepFolder) -> Path:
    """Put the last copy in the place of the record; where the damaged one lies now.

    MLflow may then know more than the record: it is to be looked through, and sent all again.

    Raises:
        UserError: there is no copy.
        Trouble: somebody owns the sweep, or the copy is damaged too.
    """
    owner = FileOwner(folder.lock, folder.path.name)
    try:
        return _restore(folder)
    finally:
        owner.release()


def _restore(folder: SweepFolder) -> Path:
    if not folder.backup.is_file():
        raise user_error("--from-backup", f"there is no {folder.backup}")
    _check(folder.backup)
    aside = folder.record.with_name(f"sweep.db.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("-wal", "-shm"):  # they belong to the damaged one
        log = folder.record.with_name(folder.record.name + suffix)
        if log.exists():
            log.replace(aside.with_name(aside.name + suffix))
    if folder.record.exists():
        folder.record.replace(aside)
    copy(folder.backup, folder.record)
    record = Record(sqlite_url(folder.record))
    for cursor, sequence in ((EVENTS_CURSOR, 0), (FILES_CURSOR, 0), (OUTDATED_CURSOR, 1)):
        record.move_cursor(cursor, sequence)
    record.close()
    return aside


def _check(path: Path) -> None:
    """Raise `Trouble` unless the copy can be read as a record, every event of it."""
    try:
        read_events(sqlite_url(path))
    except Trouble as trouble:
        raise Trouble(str(path), "is damaged too: nothing is left to go on from") from trouble
