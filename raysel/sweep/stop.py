"""`raysel stop`: end a running sweep in order, from another terminal or another machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from raysel.common.errors import OperationalError
from raysel.common.locations import sweep_url
from raysel.record.database import translate_db_errors
from raysel.record.events import Record
from raysel.record.layout import SweepFolder
from raysel.record.ownership import Holder, ask_to_stop, holder_of_file
from raysel.record.state import COMPLETE
from raysel.spec.sweep import Spec
from raysel.sweep.own_record import own_spec
from raysel.sweep.suite_folder import is_suite, read_suite
from raysel.sweep.views import LEFT, SweepView, folder_of, holder_of, read_sweep


def stop_sweep(storage: str, name: str, timeout: float) -> str:
    """Ask the sweep's driver to end, wait for it, and return what happened.

    Args:
        timeout: seconds.

    Raises:
        UserError: there is no such sweep.
        OperationalError: the driver cannot be reached, runs for longer, or did not end in order.
    """
    if is_suite(storage, name):
        return _stop_suite(storage, name, timeout)
    folder = folder_of(storage, name)
    spec = own_spec(folder)
    holder = holder_of(folder, spec)
    if holder is None:
        return f"{name} is not running"
    if holder.is_here:
        _signal(holder)
    else:
        _ask(folder, spec, holder)
    if not _wait(lambda: holder_of(folder, spec) is None, timeout):
        raise OperationalError(
            name, f"{holder} was asked to stop and still runs after {timeout:g} s"
        )
    return _outcome(read_sweep(storage, name))


def _stop_suite(storage: str, name: str, timeout: float) -> str:
    """The same for a suite, whose driver runs its cells."""
    folder = SweepFolder.of(storage, name)
    holder = holder_of_file(folder.lock)
    if holder is None:
        return f"{name} is not running"
    if not holder.is_here:
        raise OperationalError(name, f"is run by {holder}: stop it there")
    _signal(holder)
    if not _wait(lambda: holder_of_file(folder.lock) is None, timeout):
        raise OperationalError(
            name, f"{holder} was asked to stop and still runs after {timeout:g} s"
        )
    view = read_suite(storage, name)
    if view.state == COMPLETE:
        return f"{name} was complete before it could be stopped"
    done = f"{view.complete} of {len(view.cells)} cells complete"
    return f"{name} has stopped ({done}); go on with: {folder.resume()}"


def _outcome(view: SweepView) -> str:
    name, sweep, way_on = view.spec.name, view.sweep, f"go on with: {view.folder.resume()}"
    if sweep.status == COMPLETE:
        return f"{name} was complete before it could be stopped"
    if sweep.cause == LEFT:
        cut = sum(trial.cause == LEFT for trial in view.trials)
        trials = "trial was" if cut == 1 else "trials were"
        words = f"its driver died before it could end in order, {cut} {trials} cut off"
        raise OperationalError(name, f"{words}; {way_on}")
    return f"{name} has stopped ({sweep.cause}); {way_on}"


def _signal(holder: Holder) -> None:
    """SIGTERM to a driver whose pid is known here; one that has ended by itself has stopped.

    Raises:
        OperationalError: it is another user's.
    """
    if holder.is_gone:
        return  # its pid may belong to another process by now
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise OperationalError(
            str(holder), "is another user's; that user, or root, stops it"
        ) from None


def _ask(folder: SweepFolder, spec: Spec, holder: Holder) -> None:
    if spec.database_url is None:
        raise OperationalError(spec.name, f"is run by {holder}: stop it there")
    record = Record(sweep_url(spec.database_url, folder.record, spec.name))
    try:
        with translate_db_errors(record.url):
            ask_to_stop(record.engine)
    finally:
        record.close()


def _wait(done: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
