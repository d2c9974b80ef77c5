"""Progress of a suite on the terminal: a line for each cell that begins and ends, and below them
which cells are open, rewritten in place.

In a pipe or a log file the latter is a line now and then, which `raysel status` reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import RenderableType

from raysel.common.rich_output import TextConsole, plain
from raysel.common.text import and_more, clock
from raysel.record.events import Event, Kind
from raysel.record.state import ENDED, FAILED, TrialState
from raysel.service.progress import Progress
from raysel.spec.sweep import Spec
from raysel.tasks.data_summary import DataSummary
from raysel.training.source_model import SourceModel

HEARTBEAT_SECONDS = 10.0
"""Seconds between two progress lines without a terminal."""


@dataclass
class OpenCell:
    """How far a cell is.

    Attributes:
        running: its trials that run.
    """

    phase: str = "opening"
    done: int = 0
    total: int = 0
    running: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.phase} {self.done}/{self.total}" if self.total else self.phase


class SuiteProgress:
    """All cells of a suite.

    Args:
        show: rewrites what stands below the lines; nothing without a terminal.
    """

    def __init__(
        self,
        console: TextConsole,
        always: TextConsole,
        show: Callable[[RenderableType], None],
        cells: int,
        complete: int,
    ) -> None:
        self.console, self.always, self._show = console, always, show
        self._cells, self._ended = cells, complete
        self._open: dict[str, OpenCell] = {}
        self._said: set[str] = set()
        self._began, self._beat = time.monotonic(), 0.0

    def begin(self, name: str) -> OpenCell:
        """A cell is opened."""
        return self._open.setdefault(name, OpenCell())

    def end(self, name: str, words: str) -> None:
        """A cell has ended."""
        self._open.pop(name, None)
        self._ended += 1
        self.always.print(plain(f"cell {self._ended}/{self._cells}  {name}: {words}"))
        self.refresh(now=True)

    def once(self, line: str) -> None:
        """A line that several cells have to say."""
        if line not in self._said:
            self._said.add(line)
            self.console.print(plain(line))

    def refresh(self, now: bool = False) -> None:
        """Show how far the cells are."""
        running = sum(len(cell.running) for cell in self._open.values())
        elapsed = clock(time.monotonic() - self._began)
        open_ones = and_more([f"{name} {cell}" for name, cell in self._open.items()], 3)
        if self.console.is_terminal:
            words = f"cells    {self._ended}/{self._cells} · {elapsed} · {open_ones}"
            self._show(plain(words, overflow="ellipsis"))
        elif now or time.monotonic() - self._beat > HEARTBEAT_SECONDS:
            self._beat = time.monotonic()
            progress = Progress(
                "cells", self._ended, self._cells, running, elapsed, cells=open_ones
            )
            self.console.print(progress.line())


class CellReporter:
    """Reports one cell to the progress of its suite; see `raysel.sweep.progress_reporter`."""

    def __init__(self, suite: SuiteProgress, name: str) -> None:
        self._suite, self._name, self._cell = suite, name, suite.begin(name)

    def began(self, spec: Spec, trials: int, strategies: int, concurrent: int) -> None:
        """One line."""
        counts = f"{trials} trials · {strategies} strategies · {concurrent} at a time"
        self._suite.console.print(plain(f"begins   {self._name} · {counts}"))

    def data(self, summary: DataSummary) -> None:
        """Nothing: each cell would show its data."""

    def decoding(self, done: int, total: int) -> None:
        """How far decoding is."""
        self._cell.phase = f"decoding {done:,}/{total:,}"
        if done % 16 == 0:
            self._suite.refresh()

    def note(self, text: str) -> None:
        """A note, once for all cells."""
        self._suite.once(f"note     {text}")

    def source_training(self, done: int, total: int) -> None:
        """How far the source model's training is."""
        self._cell.phase = f"source step {done:,}/{total:,}"
        self._suite.refresh()

    def source(self, model: SourceModel, spec: Spec, examples: int) -> None:
        """A source model, once for all cells that share it."""
        accuracy = f"{100 * model.accuracy:.1f} % validation accuracy"
        words = f"{spec.model_name} on {examples} clean {spec.task.name}: {accuracy}"
        self._suite.once(f"source   {words}")

    def phase(self, name: str, total: int, ended: Sequence[TrialState]) -> None:
        """A phase begins."""
        self._cell.phase, self._cell.done, self._cell.total = name, len(ended), total
        self._suite.refresh()

    def event(self, event: Event) -> None:
        """Count the trials; one that failed has a line."""
        if event.trial and event.kind in (Kind.STARTED, Kind.RESUMED):
            self._cell.running.add(event.trial)
        elif event.trial and event.kind == Kind.ENDED:
            self._cell.running.discard(event.trial)
            self._cell.done += event.payload.get("status") in ENDED
            if event.payload.get("status") == FAILED:
                cause = event.payload.get("cause")
                self._suite.always.print(plain(f"{self._name} {event.trial} failed: {cause}"))
        self._suite.refresh()

    def stopping(self, cause: str) -> None:
        """The cell is to end in order; of the whole suite the suite's own reporter says it."""
        self._suite.always.print(plain(f"stopping {self._name}: {cause}"))

    def finish(self) -> None:
        """Nothing."""

    def tracker(self, words: str) -> None:
        """MLflow is away, or back; once for all cells."""
        self._suite.once(f"mlflow   {words}")

    def storage(self, words: str) -> None:
        """The bucket is away, or back."""
        self._suite.always.print(plain(f"storage  {self._name}: {words}"))
