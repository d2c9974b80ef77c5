"""The process that carries a sweep's record into MLflow, beside the driver.

    python -m raysel.tracking.writer RECORD_URL TRACKING_URI EXPERIMENT ARTIFACT_ROOT [LOG]

It follows the record until the sweep has finished, or until its standard input ends or its
parent has died and all is sent. By hand, to send what is missing: `… < /dev/null`.

Arguments can be read by everyone on the machine: passwords belong into the variables
PGPASSWORD, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import IO

from raysel.tracking.courier import Courier
from raysel.tracking.record import Record
from raysel.tracking.state import SweepState
from raysel.tracking.store import MlflowStore

POLL_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
DRAIN_SECONDS = 60.0
"""How long the writer outlives its driver while MLflow does not answer."""

_NICE = 10

_log = logging.getLogger(__name__)


class Lifeline:
    """Whether somebody still wants this process: it ends with standard input or the parent.

    A byte that comes in says that there is something to do.

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
        """Nobody is there any more."""
        return self._eof.is_set() or os.getppid() != self._parent

    def wait(self, seconds: float) -> None:
        """Sleep, no longer than until somebody knocks; a second at most once it is cut."""
        self._wake.wait(min(seconds, 1.0) if self.cut else seconds)
        self._wake.clear()

    def _listen(self, descriptor: int) -> None:
        while os.read(descriptor, 1):
            self._wake.set()
        self._eof.set()
        self._wake.set()


def follow(record: Record, courier: Courier, lifeline: Lifeline) -> bool:
    """Carry events as they come.

    Returns:
        True when all is sent and nobody waits for more; False when it was given up, with
        the rest kept in the record.
    """
    old = record.last_sequence()  # a `finished` up to here is that of an earlier life
    outage = _Outage()
    while True:
        try:
            busy = courier.carry() or courier.carry_files()
        except Exception as error:  # whatever a client, a server or a disk can raise
            courier.disconnect()
            outage.goes_on(error)
            if lifeline.cut and outage.seconds > DRAIN_SECONDS:
                return False
            lifeline.wait(outage.pause)
            continue
        outage.is_over()
        if busy:
            continue
        if lifeline.cut or courier.finished_at > old:
            return True
        lifeline.wait(POLL_SECONDS)


class _Outage:
    """While MLflow does not answer: how long, and how long to wait before the next try."""

    def __init__(self) -> None:
        self._since: float | None = None
        self.pause = 0.0

    @property
    def seconds(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since

    def goes_on(self, error: Exception) -> None:
        if self._since is None:
            self._since = time.monotonic()
            _log.warning("mlflow does not answer, trying again: %s", error, exc_info=error)
        self.pause = min(max(1.0, 2 * self.pause), LONGEST_PAUSE_SECONDS)

    def is_over(self) -> None:
        if self._since is not None:
            _log.warning("mlflow is back after %.0f s", self.seconds)
        self._since, self.pause = None, 0.0


def connect(uri: str, experiment: str, artifact_root: str, sweep: SweepState) -> MlflowStore:
    """Open MLflow for a sweep."""
    return MlflowStore(uri, experiment, artifact_root, sweep)


def only_one(log_path: Path) -> IO[str]:
    """Wait until no other writer uses this log: two would create a run twice.

    The lock ends with the process, however that ends.
    """
    stream = log_path.open("a")
    fcntl.flock(stream, fcntl.LOCK_EX)
    return stream


def main(arguments: list[str]) -> int:
    """The process; 0 when all was sent."""
    record_url, tracking_uri, experiment, artifact_root, *log_path = arguments
    os.nice(_NICE)  # training has the processors first
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    lifeline = Lifeline(sys.stdin.fileno())
    lock = only_one(Path(log_path[0])) if log_path else None
    record = Record(record_url)
    courier = Courier(record, partial(connect, tracking_uri, experiment, artifact_root))
    try:
        return 0 if follow(record, courier, lifeline) else 1
    finally:
        record.close()
        if lock:
            lock.close()


if __name__ == "__main__":
    status = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)  # nothing of ours is open; the libraries take a second to say goodbye
