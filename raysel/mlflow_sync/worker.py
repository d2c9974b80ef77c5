"""The process that exports a sweep's record to MLflow, beside the driver.

    python -m raysel.mlflow_sync.worker RECORD_URL TRACKING_URI EXPERIMENT ARTIFACT_ROOT
        [LOG [FENCE]]
        [--folder=FOLDER]

It follows the record until the sweep has finished, or until its standard input ends or its
parent has died and all is sent. By hand, to send what is missing: `… < /dev/null`. It writes
status messages to its standard output (`StatusMessage`).

Arguments can be read by everyone on the machine: passwords belong into the variables
PGPASSWORD, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, NoReturn

from raysel.mlflow_sync.audit import Audit
from raysel.mlflow_sync.client import MlflowStore
from raysel.mlflow_sync.error_messages import Reason, explain
from raysel.mlflow_sync.exporter import MlflowExporter
from raysel.mlflow_sync.process import OUTDATED_CURSOR, StatusMessage
from raysel.mlflow_sync.retry import RetryState
from raysel.record.events import Record
from raysel.record.ownership import OwnershipLost, fence_off
from raysel.record.state import SweepState

POLL_SECONDS = 0.5
DRAIN_SECONDS = 60.0
"""How long the writer outlives its driver while MLflow does not answer."""

_NICE = 10
_FOLDER = "--folder="

_log = logging.getLogger(__name__)


class ParentWatch:
    """Watches the parent: this process ends with standard input or with the parent.

    A byte on standard input means that there is something to do.

    Args:
        descriptor: of the standard input. Read without Python's buffer, whose lock a thread
            that waits for input would hold when the interpreter ends.
    """

    def __init__(self, descriptor: int) -> None:
        self._parent = os.getppid()
        self._eof = threading.Event()
        self._wake = threading.Event()
        threading.Thread(target=self._listen, args=(descriptor,), daemon=True).start()

    @property
    def cut(self) -> bool:
        """Whether the parent is gone."""
        return self._eof.is_set() or os.getppid() != self._parent

    def wait(self, seconds: float) -> bool:
        """Sleep until the parent sends a byte; at most a second once the parent is gone.

        Returns:
            Whether the parent sent a byte.
        """
        woken = self._wake.wait(min(seconds, 1.0) if self.cut else seconds)
        self._wake.clear()
        return woken

    def _listen(self, descriptor: int) -> None:
        while os.read(descriptor, 1):
            self._wake.set()
        self._eof.set()
        self._wake.set()


Explain = Callable[[BaseException, bool], Reason]
"""Why a call failed; the second argument: whether it was about a file."""


class ExportLoop:
    """Exports events as they come, and files when no event waits.

    Args:
        record: where the events are.
        exporter: sends them to MLflow.
        parent: the driver process that waits for it.
        explain: says why a call failed.
        say: sends a status message to the driver.
        view: exports some of the record elsewhere than to MLflow; returns whether there was any.
    """

    def __init__(
        self,
        record: Record,
        exporter: MlflowExporter,
        parent: ParentWatch,
        explain: Explain,
        say: Callable[[StatusMessage], None],
        view: Callable[[], bool] = lambda: False,
    ) -> None:
        self._view = view
        self._record, self._exporter, self._parent = record, exporter, parent
        self._explain = explain
        self._tracker = RetryState(say, "back")
        self._files = RetryState(say, "takes files again")

    def run(self) -> bool:
        """Export until nothing more will come.

        Returns:
            True when all is sent and nobody waits for more; False when it was given up, with
            the rest kept in the record.

        Raises:
            OwnershipLost: another driver has taken the sweep over, and has its own exporter.
        """
        old = self._record.last_sequence()  # a `finished` up to here is that of an earlier attempt
        while True:
            while self._export_events() or self._view():
                pass
            gone = self._parent.cut
            stuck = self._tracker.on or self._files.on
            if not stuck and (gone or self._exporter.finished_at > old):
                return True
            if gone and max(self._tracker.seconds, self._files.seconds) > DRAIN_SECONDS:
                return False
            woken = self._parent.wait(self._tracker.pause or POLL_SECONDS)
            if woken or gone:
                self._tracker.try_now()
                self._files.try_now()

    def _export_events(self) -> bool:
        """One step; False where nothing is left, or where it failed."""
        if not self._tracker.due:
            return False
        try:
            busy = self._exporter.export_events()
        except OwnershipLost:
            raise
        except Exception as error:  # whatever a client, a server or a disk can raise
            self._exporter.disconnect()
            self._failed(error, False)
            return False
        if not busy:
            busy = self._files.due and self._carry_file()
            if not busy:
                self._tracker.is_drained(self._exporter.sent)
                return False
        self._tracker.record_success()
        return True

    def _carry_file(self) -> bool:
        try:
            busy = self._exporter.export_artifacts()
        except OwnershipLost:
            raise
        except Exception as error:
            self._failed(error, True)
            return False
        if busy:
            self._files.record_success()
        self._files.is_drained(self._exporter.sent)
        return busy

    def _failed(self, error: Exception, of_files: bool) -> None:
        reason = self._explain(error, of_files)
        retry = self._files if reason.files_only else self._tracker
        retry.record_failure(reason, error, self._exporter.sent)


def connect(
    record: Record, uri: str, experiment: str, artifact_root: str, sweep: SweepState
) -> MlflowStore:
    """Open MLflow for a sweep; runs that contradict the record are removed first."""
    if record.cursor(OUTDATED_CURSOR):
        Audit(uri, experiment, [stored.event for stored in record.events()]).remove_surplus()
        record.move_cursor(OUTDATED_CURSOR, 0)
    return MlflowStore(uri, experiment, artifact_root, sweep)


def only_one(log_path: Path) -> IO[str]:
    """Wait until no other writer uses this log: two would create a run twice.

    The lock ends with the process, however that ends.
    """
    stream = log_path.open("a")
    fcntl.flock(stream, fcntl.LOCK_EX)
    return stream


class StatusPipe:
    """Sends status messages to the driver, on the original standard output; what a library prints
    goes into the log from now on."""

    def __init__(self) -> None:
        self._out = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(self, word: StatusMessage) -> None:
        """Send a message, if the driver still reads."""
        with suppress(OSError):
            os.write(self._out, word.line())


View = Callable[[Record, Path], Callable[[], bool]]
"""Makes, for a record and the sweep's folder, what exports some of it and says whether there was
any."""


def main(arguments: list[str], view: View | None = None) -> int:
    """The process; 0 when all was sent.

    Args:
        view: what the record is exported to beside MLflow; needs `--folder`.
    """
    record_url, tracking_uri, experiment, artifact_root, *more = arguments
    folders = [Path(a.removeprefix(_FOLDER)) for a in more if a.startswith(_FOLDER)]
    more = [argument for argument in more if not argument.startswith(_FOLDER)]
    os.nice(_NICE)  # training has the processors first
    # a job that is stopped has it sent to all its processes; the driver says when to end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    pipe = StatusPipe()
    parent = ParentWatch(sys.stdin.fileno())
    lock = only_one(Path(more[0])) if len(more) == 1 else None
    record = Record(record_url)
    if len(more) == 2:  # a frozen writer must not hold up the next owner's: it is fenced off
        fence_off(record.engine, experiment, int(more[1]))

    def why(error: BaseException, of_files: bool) -> Reason:
        return explain(error, tracking_uri, experiment, of_files)

    try:
        opens = partial(connect, record, tracking_uri, experiment, artifact_root)
        exporter = MlflowExporter(record, opens, *folders)
        views = [view(record, folder) for folder in folders] if view else []
        loop = ExportLoop(record, exporter, parent, why, pipe.say, *views)
        return 0 if loop.run() else 1
    except OwnershipLost as lost:
        _log.warning("%s", lost)
        return 1
    finally:
        record.close()
        if lock:
            lock.close()


def run(view: View | None = None) -> NoReturn:
    """Run the process with the command line's arguments, and end it."""
    status = main(sys.argv[1:], view)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)  # nothing of ours is open; the libraries take a second to shut down


if __name__ == "__main__":
    run()
