"""The processes of a local Ray: those that a killed driver has left are ended, and the end of one
under a running sweep is noticed at once.

Left behind they run on for up to half a minute, and hold their memory and ports. Without its raylet
Ray ends this process silently after some 15 seconds; without its GCS after a minute, with a line of
C++.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import NoReturn

import psutil

from raysel.common.errors import FAILED, INTERRUPTED, OperationalError
from raysel.record.ownership import Holder

DRIVER = "RAYSEL_DRIVER"
"""The environment variable by which every process of a local Ray knows its driver: the pid, and
when and where it began, so that a later process of the same pid is not taken for it."""

_END_SECONDS = 3.0

VITAL = frozenset({"raylet", "gcs_server"})
"""Processes without which a local Ray does not work."""

_LOOK_SECONDS = 0.2


@contextmanager
def marked() -> Iterator[None]:
    """Mark processes that are started in the block as children of this one."""
    os.environ[DRIVER] = json.dumps(asdict(Holder.this_process()))
    try:
        yield
    finally:
        del os.environ[DRIVER]


def orphans() -> list[psutil.Process]:
    """Processes of local Ray clusters whose driver is dead, of this user only."""
    return [process for process, driver in _all_marked() if _is_dead(driver)]


def end_orphans() -> None:
    """End them."""
    _end(orphans())


def end_family() -> None:
    """End the processes of this one's own Ray."""
    me = Holder.this_process()
    mine = (me.place, me.pid, me.born)
    _end([child for child, d in _all_marked() if (d.place, d.pid, d.born) == mine])


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):  # psutil knows a later process of the same pid
            process.terminate()
    for process in psutil.wait_procs(processes, _END_SECONDS)[1]:
        with suppress(psutil.Error):
            process.kill()


def _all_marked() -> Iterator[tuple[psutil.Process, Holder]]:
    """Every process of a local Ray that this user may ask, and its driver."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, ValueError, TypeError):
            if (mark := process.environ().get(DRIVER)) is not None:
                yield process, Holder(**json.loads(mark))


def _is_dead(driver: Holder) -> bool:
    """Its process has ended, or waits as a zombie for a parent that does not ask."""
    if driver.is_gone:
        return True
    with suppress(psutil.Error):
        return driver.is_here and psutil.Process(driver.pid).status() == psutil.STATUS_ZOMBIE
    return False


@contextmanager
def watching(lost: Callable[[str], None]) -> Iterator[None]:
    """Call `lost` with words, from another thread, when a vital process of this one's Ray has
    ended within the block. Of a cluster that was joined nothing is watched."""
    vital = [child for child in psutil.Process().children() if _name(child) in VITAL]
    names = {child.pid: _name(child) for child in vital}
    left = threading.Event()

    def watch() -> None:
        while not left.wait(_LOOK_SECONDS):
            for child in vital:
                if _has_ended(child) and not left.is_set():
                    who = f"{names[child.pid]} (process {child.pid})"
                    lost(f"its {who} has ended: killed, for want of memory perhaps")
                    return

    thread = threading.Thread(target=watch, name="ray-watch", daemon=True)
    if vital:
        thread.start()
    try:
        yield
    finally:
        left.set()


def without_ray(
    stopped: str | None, name: str, what: str, way_on: str
) -> tuple[str, OperationalError, int]:
    """The cause for the record, the line for the user and the exit code of a sweep whose Ray has
    ended. Where it was stopped, the signal ended Ray too, and nothing is wrong with the machine.

    Args:
        stopped: why the sweep was to stop; None where it was not.
        name: the sweep's.
        what: of Ray ended, in words.
        way_on: the command that resumes the sweep.
    """
    if stopped is not None:
        words = f"{stopped}; Ray ended before the running trials did; go on with: {way_on}"
        return stopped, OperationalError(name, words), INTERRUPTED
    error = OperationalError("ray", f"{what}; go on with: {way_on}")
    return f"Ray was lost: {what}", error, FAILED


def leave(error: OperationalError, code: int) -> NoReturn:
    """End this process, whose main thread waits for a Ray that is gone; in one line."""
    with suppress(Exception):
        sys.stderr.write(f"error  {error}\n")
        sys.stderr.flush()
    with suppress(Exception):
        end_family()
    os._exit(code)


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return process.name()
    return ""


def _has_ended(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.status() == psutil.STATUS_ZOMBIE
    return True
