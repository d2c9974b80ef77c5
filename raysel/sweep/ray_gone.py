"""The end of a driver whose Ray has ended under it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

from raysel.engine.ray_processes import leave, without_ray
from raysel.engine.trial_source import StopRequest
from raysel.sweep.progress_reporter import ProgressReporter

LEAVE_SECONDS = 20.0
"""Time for a sweep to record its end after Ray is gone."""


def leave_without_ray(
    stop: StopRequest,
    reporter: ProgressReporter,
    name: str,
    what: str,
    way_on: str,
    record: Callable[[str], None],
) -> NoReturn:
    """End this process, whose Ray has ended: its end is recorded first, if that is done in time.

    Args:
        name: of the sweep or the suite.
        what: of Ray ended, in words.
        way_on: the command that goes on with it.
        record: writes the cause into what this process owns.
    """
    cause, error, code = without_ray(stop.cause if stop.asked else None, name, what, way_on)
    hurry = threading.Timer(LEAVE_SECONDS, leave, [error, code])
    hurry.daemon = True
    hurry.start()
    stop.fail(error)  # the main thread writes nothing more
    record(cause)
    reporter.finish()
    hurry.cancel()
    leave(error, code)
