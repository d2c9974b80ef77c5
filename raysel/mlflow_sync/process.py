"""Start, wait for and stop the MLflow exporter process from the driver.

Nothing here imports MLflow: its import takes longer than a trial's epoch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from raysel.record.events import Record

EVENTS_CURSOR = "mlflow"
"""The record's cursor: up to here MLflow has states and metrics."""

FILES_CURSOR = "mlflow-files"
"""The record's cursor: up to here MLflow has traces, pictures and the report."""

OUTDATED_CURSOR = "mlflow-outdated"
"""The record's cursor: 1 while MLflow may know more than the record, which went back to a copy."""

STUCK_SECONDS = 3.0
"""How long a sweep that ends waits for an MLflow that does not answer."""

_MEANWHILE = "the sweep goes on, records are kept and sent later"

_ALWAYS = {
    # one thread: the processors belong to training
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # its log lines go to our log, not to handlers of its own
    "MLFLOW_CONFIGURE_LOGGING": "false",
}
_UNLESS_SET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # one a file, on the terminal of reconcile
    # no retries inside the client: it would send a lost `create_run` again without looking,
    # and it would hide an outage for minutes. The writer looks first, and tries for ever.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "PGCONNECT_TIMEOUT": "10",  # of a store in PostgreSQL without a server before it
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True)
class StatusMessage:
    """What the exporter reports to its driver: one JSON object a line on its standard output.

    Attributes:
        stuck: whether the last try failed.
        lasting: whether the user has to act before it can work again.
        text: message for the user; None if it was reported before.
    """

    stuck: bool
    lasting: bool = False
    text: str | None = None

    def line(self) -> bytes:
        """The encoded line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> StatusMessage | None:
        """A line's message; None if the line is third-party output."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None


class WriterProcess:
    """A writer (`raysel.mlflow_sync.worker`) in a session of its own, so that a Ctrl-C in the
    terminal does not reach it.

    Args:
        record_url: the record, as `Record` takes it.
        tracking_uri: MLflow's.
        experiment: name of the MLflow experiment.
        artifact_root: where MLflow's artifacts lie, a folder or a URI; empty, or a server
            behind the tracking URI: MLflow decides.
        log_path: the exporter's log; its folder must exist. One exporter at a time
            uses a log: without a `fence` a second one waits for the first to end.
        notify: called with a line when MLflow is unreachable and when it is back, from
            a thread of its own.
        fence: the number of the sweep's owner; the writer ends when another has taken over.
        folder: where the sweep's files lie; None: where its record says.
        program: the module that is run; one that exports to more than MLflow takes the same
            arguments.
    """

    def __init__(
        self,
        record_url: str,
        tracking_uri: str,
        experiment: str,
        artifact_root: str | Path,
        log_path: Path,
        notify: Callable[[str], None] = lambda _: None,
        fence: int | None = None,
        folder: Path | None = None,
        program: str = "raysel.mlflow_sync.worker",
    ) -> None:
        self._program = program
        self._arguments = [record_url, tracking_uri, experiment, str(artifact_root), str(log_path)]
        self._arguments += [] if fence is None else [str(fence)]
        self._arguments += [] if folder is None else [f"--folder={folder}"]
        self._record = Record(record_url)
        self._log_path = log_path
        self._notify = notify
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._last, self._failures = StatusMessage(stuck=False), 0

    def start(self) -> None:
        """Start it; it continues where an earlier one stopped."""
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._program, *self._arguments],
                stdin=subprocess.PIPE,
                bufsize=0,  # a byte to a dead process leaves nothing behind to flush
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(os.environ),
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._last = StatusMessage(stuck=False)
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stdout,), daemon=True
        )
        self._listener.start()

    def _listen(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                message = StatusMessage.parse(line)
                if message is None:
                    continue
                self._last = message
                self._failures += message.stuck
                if message.text:
                    self._notify(f"{message.text}; {_MEANWHILE}" if message.stuck else message.text)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def lag(self) -> int:
        """How many events MLflow does not have yet."""
        return len(self._record.events(after=self._record.cursor(EVENTS_CURSOR)))

    def drain(self, timeout: float) -> bool:
        """Wait until MLflow has every event and file; not while it does not answer.

        A writer that has died is started again.

        Args:
            timeout: seconds.

        Returns:
            True if it has; False where time ran out, MLflow is away, or the writer has died.
        """
        if self._process is not None and not self.alive and not self._all_sent():
            self.start()
        tries = _Tries(self._last.stuck, self._failures)
        self._wake()
        deadline = time.monotonic() + timeout
        while True:
            alive = self.alive  # asked first: it may send the last event and end in between
            if self._all_sent():
                return True
            if (
                not alive
                or time.monotonic() > deadline
                or tries.should_give_up(self._last, self._failures)
            ):
                return False
            time.sleep(0.05)

    def stop(self, grace: float = 5.0) -> None:
        """End the process: in order within `grace` seconds, else at once; at once where MLflow
        does not answer.

        What was not sent stays in the record, for the next writer of this sweep.
        """
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()  # that is its sign to send the rest and to go
            try:
                self._process.wait(0.0 if self._last.stuck else grace)
            except subprocess.TimeoutExpired:
                self._process.terminate()
                self._process.wait()
            self._process = None
        if self._listener is not None:
            self._listener.join()
            self._listener = None
        self._record.close()

    def _all_sent(self) -> bool:
        last = self._record.last_sequence()
        return all(self._record.cursor(name) >= last for name in (EVENTS_CURSOR, FILES_CURSOR))

    def _wake(self) -> None:
        """Wake it up between two polls of the record or two retries."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended
                self._process.stdin.write(b"\n")


class _Tries:
    """Decides how long to wait for an MLflow that does not answer.

    Args:
        stuck: whether it was away before anybody waited for it.
        failures: how many tries had failed until then.
    """

    def __init__(self, stuck: bool, failures: int) -> None:
        self._was_stuck, self._failures = stuck, failures
        self._since: float | None = None

    def should_give_up(self, last: StatusMessage, failures: int) -> bool:
        """Whether to stop waiting, given the last status and the number of failed tries."""
        if not last.stuck:
            self._since = None
            return False
        self._since = self._since or time.monotonic()
        again = failures > self._failures and (self._was_stuck or last.lasting)
        return again or time.monotonic() - self._since > STUCK_SECONDS


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The writer's environment variables: quiet, one thread, no telemetry."""
    return {**_UNLESS_SET, **inherited, **_ALWAYS}
