"""One attempt of a suite's driver: the searches and confirm phases of its cells in one run of Tune.

A cell is opened (its data read, its record made) while the one before it still has trials to begin,
and is closed (report, best model, its end in its record) when its last trial has ended; both in
threads of their own, so that workers need not wait.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from raysel.common.errors import OperationalError, UserError, in_a_line
from raysel.common.text import LINE, first_line
from raysel.engine import nodes
from raysel.engine.capacity import concurrent as most_at_a_time
from raysel.engine.connect import connected, grows
from raysel.engine.ray_processes import watching
from raysel.engine.signals import after_seconds, on_signals
from raysel.engine.trial_source import Lane, Phase, StopRequest, Wait
from raysel.engine.tune import run_lanes
from raysel.mlflow_sync.process import WriterProcess
from raysel.record.events import Event
from raysel.record.layout import SweepFolder
from raysel.spec import user_code
from raysel.spec.sweep import Spec
from raysel.sweep.errors_in_words import in_words
from raysel.sweep.existing import OwnedSweep, open_sweep
from raysel.sweep.outcome import Outcome, Publish
from raysel.sweep.progress_reporter import ProgressReporter
from raysel.sweep.ray_gone import leave_without_ray
from raysel.sweep.repeated_failures import Failures
from raysel.sweep.session import Session, inputs_of
from raysel.sweep.stopper import Stopper


class SuiteReporter(ProgressReporter, Protocol):
    """Shows the progress of a suite to the user."""

    def suite(self, name: str, cells: int, complete: int) -> None:
        """How many cells there are, and how many are complete already."""
        ...

    def cell(self, name: str) -> ProgressReporter:
        """A cell begins; what shows its progress."""
        ...

    def cell_ended(self, name: str, words: str) -> None:
        """A cell has ended: its verdict, or why it failed."""
        ...


@dataclass(frozen=True)
class CellToRun:
    """A cell that is not complete.

    Attributes:
        name: `suite/cell`.
        code: the user's own files.
    """

    name: str
    spec: Spec
    folder: SweepFolder
    code: tuple[user_code.Source, ...]


@dataclass
class SuiteSession:
    """One attempt over a suite that this process owns.

    Attributes:
        budget: seconds until it is ended in order; None: when its cells are done.
        failed: name of a cell -> why it failed, in a line.
        errors: what failed that is no user's mistake and no failure of the world.
        writers: the exporters of the cells' records.
        in_training: source models that a cell trains now.
        concurrent: how many trials run at a time.
    """

    folder: SweepFolder
    cells: Sequence[CellToRun]
    reporter: SuiteReporter
    publish: Publish
    budget: float | None = None
    failed: dict[str, str] = field(default_factory=dict)
    errors: list[Exception] = field(default_factory=list)
    writers: list[tuple[Session, WriterProcess]] = field(default_factory=list)
    in_training: set[Path] = field(default_factory=set)
    concurrent: int = 1
    stop: StopRequest = field(default_factory=StopRequest)
    open_cells: list[_Cell] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.opener = ThreadPoolExecutor(1, "opening")
        self.closer = ThreadPoolExecutor(1, "closing")

    def run(self) -> str | None:
        """Run the cells; why it ended before they were done, None where they are.

        Raises:
            Exception: the driver failed; the cells that are closed stay as they are.
        """
        stopper = Stopper(self.reporter, self.stop)
        limit = after_seconds(self.budget, self.budget or 0.0, stopper.ask)
        with on_signals(stopper.ask_again), connected() as there, watching(self._leave), limit:
            resources = self.cells[0].spec.resources
            self.concurrent = most_at_a_time(there, resources, grows())
            storage = self.folder.tune / str(time.time_ns())
            lanes = (self._lane(cell) for cell in self.cells)
            try:
                run_lanes(lanes, resources, self.concurrent, storage, self.stop)
            finally:
                self.opener.shutdown(cancel_futures=True)
                self.closer.shutdown()
                self._end_writers()
            if self.folder.bucket is None:
                nodes.tidied(self.folder.path)
        if self.errors:
            raise self.errors[0]
        return self.stop.cause if self.stop.asked else None

    def _lane(self, cell: CellToRun) -> Lane:
        own = _Cell(self, cell)
        self.open_cells.append(own)
        name = cell.name.partition("/")[2]
        return Lane(own.phases(), own, own.stop, name, own.ended)

    def closed(self, cell: _Cell) -> None:
        """A cell's end was handled."""
        self.open_cells.remove(cell)
        for session, writer in list(self.writers):
            if not writer.alive:  # it has sent everything
                writer.stop()
                self.writers.remove((session, writer))

    def _end_writers(self) -> None:
        """Wait for MLflow, which the exporters of the last cells may still be sending to."""
        for session, writer in self.writers:
            session.drain(writer)
            writer.stop()

    def _leave(self, what: str) -> None:
        """Ray has ended under the suite; see `Session`."""

        def record(cause: str) -> None:
            for cell in list(self.open_cells):
                cell.record_end(cause)

        way_on = self.folder.resume()
        leave_without_ray(self.stop, self.reporter, self.folder.name, what, way_on, record)


class _Cell:
    """A cell as a lane of the engine."""

    def __init__(self, suite: SuiteSession, cell: CellToRun) -> None:
        self._suite, self._cell = suite, cell
        self.stop = StopRequest(suite.stop)
        self._opening: Future[Session] | None = None
        self._session: Session | None = None
        self._sweep: OwnedSweep | None = None

    def phases(self) -> Generator[Phase | Wait]:
        """Wait until the sweep is open, then its phases."""
        self._opening = self._suite.opener.submit(self._opened)
        while not self._opening.done():
            yield Wait(self._opening.done)
        self._session = self._opening.result()
        yield from self._session.phases(self._suite.concurrent)

    def _opened(self) -> Session:
        suite, cell = self._suite, self._cell
        started = time.perf_counter()
        reporter = suite.reporter.cell(cell.name)
        inputs = inputs_of(cell.spec, reporter, cell.code)
        stopper = Stopper(reporter, self.stop)
        self._failures = failures = Failures(stopper.ask)

        def observe(event: Event) -> None:
            reporter.event(event)
            failures.see(event)

        ask, fail = stopper.ask, self.stop.fail
        sweep = open_sweep(inputs, cell.folder, observe, ask, fail, reporter.storage)
        self._sweep = sweep
        session = Session(
            *(inputs, cell.folder, reporter, sweep, stopper, failures, started),
            in_training=suite.in_training,
        )
        suite.writers.append((session, session.start_writer()))
        return session

    def receive(self, trial: str, name: str, content: bytes) -> None:
        """See `engine.WorkerEvents`."""
        assert self._session is not None
        self._session.receive(trial, name, content)

    def worker_lost(self, trial: str) -> None:
        """See `engine.WorkerEvents`."""
        assert self._session is not None
        self._session.worker_lost(trial)

    def record_end(self, cause: str) -> None:
        """Record that the sweep has ended before it was done, as far as that can be written."""
        with suppress(Exception):
            if self._session is not None:
                self._session.record_end(cause)
            if self._sweep is not None:
                self._sweep.close()

    def ended(self) -> None:
        """Its trials have ended, or it was stopped, or could not be opened."""
        self._suite.closer.submit(self._close)

    def _close(self) -> None:
        suite, outcome = self._suite, None
        if self._session is None and self._opening is not None and not self._opening.cancel():
            with suppress(Exception):  # it is the lane's error
                self._session = self._opening.result()
        error = self.stop.error
        try:
            if error is None and self._session is not None:
                outcome = self._closed(self._session)
        except Exception as failure:
            error = failure
        if error is not None:
            error = in_words(error, self._sweep, self._cell.folder)
            self.record_end(first_line(error, LINE))
        suite.closed(self)
        self._reported(outcome, error)

    def _closed(self, session: Session) -> Outcome:
        outcome = session.end(self._suite.publish)
        session.sweep.deliver()
        session.sweep.watch.check()
        session.sweep.close()
        return outcome

    def _reported(self, outcome: Outcome | None, error: Exception | None) -> None:
        suite, name = self._suite, self._cell.name
        why = None
        if error is not None:
            if suite.stop.error is None and not isinstance(error, UserError | OperationalError):
                suite.errors.append(error)
            why = in_a_line(error) or type(error).__name__
        elif outcome is not None and outcome.failed:
            why = outcome.cause or "its trials failed"
        if why is not None:
            suite.failed[name.partition("/")[2]] = why
            suite.reporter.cell_ended(name, f"failed: {why}")
        elif outcome is not None and outcome.complete:
            suite.reporter.cell_ended(name, outcome.results.verdict.sentence)
