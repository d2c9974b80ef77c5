"""What a sweep ended with, as one line with a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysel.common.disk_errors import of_the_disk
from raysel.common.errors import OperationalError, UserError
from raysel.engine.trial_source import WorkerEnvironmentError
from raysel.record.layout import SweepFolder

if TYPE_CHECKING:
    from raysel.sweep.existing import OwnedSweep


def in_words(error: Exception, sweep: OwnedSweep | None, folder: SweepFolder) -> Exception:
    """What a sweep ended with: one line and a remedy, where the disk or the record is the cause."""
    # whatever it led to, be it a database that cannot be written, has this cause
    if sweep is not None and (gone := sweep.watch.gone()):
        return gone
    if isinstance(error, UserError | OperationalError):
        return error
    hindered = isinstance(error, WorkerEnvironmentError)
    if words := str(error) if hindered else of_the_disk(error):
        way_on = f"then go on: {folder.continue_command}"
        return OperationalError(str(folder.path), f"{words}; {way_on}")
    return error
