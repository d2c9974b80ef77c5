"""Ray processes left by a killed driver: they run on for up to half a minute, and hold
their memory and ports."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

import psutil

from raysel.record.ownership import Holder

DRIVER = "RAYSEL_DRIVER"
"""The environment variable by which every process of a local Ray knows its driver: the pid, and
when and where it began, so that a later process of the same pid is not taken for it."""

_END_SECONDS = 3.0


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
