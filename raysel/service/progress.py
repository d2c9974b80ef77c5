"""A sweep's progress in one line: the heartbeat in the log of a job, written and read here."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"^progress (?P<phase>\w+) (?P<done>\d+)/(?P<total>\d+), (?P<running>\d+) running"
    r", (?P<elapsed>[\d:]+)"
    r"(?: \((?P<cells>.+)\))?"
    r"(?:, best (?P<metric>\S+) (?P<best>-?\d+\.\d+) (?P<label>.*))?$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Progress:
    """Progress of a sweep.

    Attributes:
        phase: `search` or `confirm`.
        done: trials that have ended, of `total`.
        elapsed: since the phase began in this job, `1:31`; empty where it is not known.
        best: the best value of `metric` so far, None while there is none.
        label: of the trial that has it.
        cells: of a suite, those that are open and how far they are.
    """

    phase: str
    done: int
    total: int
    running: int
    elapsed: str = ""
    metric: str = ""
    best: float | None = None
    label: str = ""
    cells: str = ""

    def __str__(self) -> str:
        words = f"{self.phase} {self.done}/{self.total}, {self.running} running"
        words += f", {self.elapsed}" if self.elapsed else ""
        words += f" ({self.cells})" if self.cells else ""
        if self.best is None:
            return words
        return f"{words}, best {self.metric} {self.best:.3f} {self.label}"

    def line(self) -> str:
        """The heartbeat."""
        return f"progress {self}"


def last_of(log: str) -> Progress | None:
    """The last heartbeat of a log, None where it has none."""
    beats = list(_LINE.finditer(log))
    if not beats:
        return None
    found = beats[-1]
    return Progress(
        phase=found["phase"],
        done=int(found["done"]),
        total=int(found["total"]),
        running=int(found["running"]),
        elapsed=found["elapsed"],
        metric=found["metric"] or "",
        best=None if found["best"] is None else float(found["best"]),
        label=found["label"] or "",
        cells=found["cells"] or "",
    )
