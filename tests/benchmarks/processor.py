"""Processor time of a process and all that it starts, by what they do.

On a machine that others use too, wall time says as much about them; this does not.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from types import TracebackType

import psutil

_LOOK_SECONDS = 0.5

DRIVER, WORKERS, WRITER, RAY = "driver", "workers", "MLflow writer", "Ray's own processes"


class ProcessorClock:
    """Counts while its block runs.

    Looks at the processes every half second: what a process does in its last half second
    is lost, which is little beside the seconds that a worker needs to start.
    """

    def __init__(self) -> None:
        self._seen: dict[psutil.Process, tuple[str, float, float]] = {}  # role, first, last
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessorClock:
        self._look(started=False)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    @property
    def seconds(self) -> dict[str, float]:
        """Processor seconds by role."""
        total: defaultdict[str, float] = defaultdict(float)
        for role, first, last in self._seen.values():
            total[role] += last - first
        return dict(total)

    def _watch(self) -> None:
        while not self._done.wait(_LOOK_SECONDS):
            self._look()

    def _look(self, started: bool = True) -> None:
        """Note every process; one that is new since the block began counts from zero."""
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            try:
                times = process.cpu_times()
                now = times.user + times.system
                role, first, _ = self._seen.get(process) or (
                    _role(process, own),
                    0.0 if started else now,
                    0.0,
                )
            except psutil.Error:
                continue  # it has ended
            self._seen[process] = (role, first, now)


def _role(process: psutil.Process, own: psutil.Process) -> str:
    if process == own:
        return DRIVER
    command = " ".join(process.cmdline())
    if "raysel.mlflow_sync.worker" in command:
        return WRITER
    return WORKERS if command.startswith("ray::") or "default_worker.py" in command else RAY
