"""Export events to MLflow, batch by batch: the state of every trial in the batch,
and the batch's metrics; files afterwards, when nothing else waits.

The record's cursor moves only after MLflow accepted a batch. What is sent twice, because the
process died in between, MLflow stores once (see `runs`), so the cursor only saves time: if
MLflow does not have the sweep, everything is sent again.
"""

from __future__ import annotations

import errno
import logging
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from raysel.mlflow_sync import trace_figure
from raysel.mlflow_sync.client import MlflowStore, Refused
from raysel.mlflow_sync.process import EVENTS_CURSOR, FILES_CURSOR
from raysel.mlflow_sync.runs import (
    CARD,
    Point,
    RunImage,
    measured,
    run_name,
    sweep_image,
    trial_image,
)
from raysel.record.events import SWEEP, Event, Kind, Record, StoredEvent
from raysel.record.state import SweepState, TrialState, fold, fold_sweep, located

BATCH = 500
"""Largest number of events in a batch."""

_BRING_FILES = frozenset({Kind.SWEEP.value, Kind.ENDED.value, Kind.FINISHED.value})
_BRING_THE_SPEC = frozenset({Kind.SWEEP.value, Kind.RESUMED.value})

Connect = Callable[[SweepState], MlflowStore]

_log = logging.getLogger(__name__)


class MlflowExporter:
    """Exports one sweep's record to MLflow.

    Args:
        record: where the events are.
        connect: opens MLflow for the sweep; called again after `disconnect`.
        folder: where the sweep's files lie; None: where the record says.

    Attributes:
        sent: number of events that MLflow accepted from this exporter.
    """

    def __init__(self, record: Record, connect: Connect, folder: Path | None = None) -> None:
        self._record, self._connect, self._folder = record, connect, folder
        self._store: MlflowStore | None = None
        self._trials: dict[str, TrialState] = {}
        self._recorded = SweepState()
        self._at = record.cursor(EVENTS_CURSOR)
        self._files_at = min(record.cursor(FILES_CURSOR), self._at)
        self._files: deque[StoredEvent] = deque()
        self.sent = 0
        self._learn([stored for stored in record.events() if stored.sequence <= self._at])

    @property
    def finished_at(self) -> int:
        """The sequence of the sweep's end; 0 while it goes on."""
        return self._at if self._sweep.ended_at is not None else 0

    def disconnect(self) -> None:
        """Drop the client and its cache: a call that failed may have had an effect."""
        self._store = None

    def export_events(self) -> bool:
        """Send one batch of events; False if there was none.

        Raises:
            Exception: MLflow or the record does not answer; nothing is lost, try again.
        """
        batch = self._record.events(after=self._at, limit=BATCH)
        if not batch:
            return False
        events = [stored.event for stored in batch]
        sweep = self._located(fold_sweep(events, self._recorded))
        trials = fold(events, self._trials)
        store = self._store = self._store or self._connect(sweep)
        if self._at and not store.has(SWEEP):
            self._start_over()
            return True
        _show(store, events, sweep, trials)
        self._learn(batch)
        self._record.move_cursor(EVENTS_CURSOR, self._at)
        self.sent += len(batch)
        return True

    def export_artifacts(self) -> bool:
        """Send the files of one trial, or of the sweep; False if there were none.

        Raises:
            Exception: MLflow or the record does not answer; nothing is lost, try again.
        """
        if not self._files:
            self._move_files_cursor(self._at)
            return False
        stored = self._files[0]
        store = self._store = self._store or self._connect(self._sweep)
        if store.has(stored.event.trial):
            try:
                self._upload(store, stored.event)
            except Refused as error:
                _log.warning("files of %s passed over: %s", stored.event.trial or "sweep", error)
        self._files.popleft()
        self._move_files_cursor(stored.sequence)
        return True

    def _learn(self, batch: Sequence[StoredEvent]) -> None:
        events = [stored.event for stored in batch]
        self._recorded = fold_sweep(events, self._recorded)
        self._trials = fold(events, self._trials)
        for stored in batch:
            if _brings_files(stored.event) and stored.sequence > self._files_at:
                self._files.append(stored)
        self._at = max([self._at, *(stored.sequence for stored in batch)])

    @property
    def _sweep(self) -> SweepState:
        return self._located(self._recorded)

    def _located(self, sweep: SweepState) -> SweepState:
        """The sweep with its files where they lie now. Never folded on: later events name their
        files by where the record says the folder is."""
        return sweep if self._folder is None else located(sweep, self._folder)

    def _start_over(self) -> None:
        _log.warning("mlflow knows nothing of this sweep: everything is sent again")
        self._trials, self._recorded = {}, SweepState()
        self._at = self._files_at = 0
        self._files.clear()

    def _move_files_cursor(self, sequence: int) -> None:
        if sequence != self._files_at:
            self._record.move_cursor(FILES_CURSOR, sequence)
            self._files_at = sequence

    def _upload(self, store: MlflowStore, event: Event) -> None:
        if event.kind in _BRING_THE_SPEC:
            store.upload_text(SWEEP, self._sweep.spec, "spec.yaml")
        elif event.kind == Kind.FINISHED:
            _upload_results(store, Path(self._sweep.folder))
        else:
            _upload_trace(store, self._sweep, self._trials[event.trial])


def _upload_trace(store: MlflowStore, sweep: SweepState, trial: TrialState) -> None:
    """Upload a trial's trace and its figure."""
    parts = Path(sweep.folder) / "trials" / trial.id / "trace"
    with tempfile.TemporaryDirectory(prefix="raysel-") as folder:
        title = f"{run_name(trial)} · {trial.status.lower()}"
        _draw(parts, sweep.layers_of(trial), Path(folder), title)
        if any(Path(folder).iterdir()):
            store.upload(trial.id, Path(folder), "selection")


def _draw(parts: Path, layers: Sequence[str], folder: Path, title: str) -> None:
    """Write a trace's files for the upload, as far as the trace can be read.

    A damaged part raises whatever its flipped bit leads to, OSError and KeyError among it. That
    is no refusal of MLflow's: it must not keep back the files of every trial behind it.
    """
    try:
        pq.write_table(trace_figure.read(parts), folder / "trace.parquet")
        trace_figure.draw(parts, layers, folder / "heatmap.png", title)
    except FileNotFoundError:
        pass  # it ended before its first epoch did
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # this machine's disk failed: the trace is intact, and is tried again
        _log.warning("trace of %s: %s", parts.parent.name, error)


def _brings_files(event: Event) -> bool:
    """A sweep that goes on may have been extended: its file is sent again."""
    return event.kind in _BRING_FILES or (event.trial == SWEEP and event.kind in _BRING_THE_SPEC)


def _show(
    store: MlflowStore,
    events: Sequence[Event],
    sweep: SweepState,
    trials: dict[str, TrialState],
) -> None:
    """Send a batch: the parent run first, because the children need its id."""
    found = measured(events, trials, sweep.metric)
    if not store.has(SWEEP) or SWEEP in found:
        _show_or_pass_over(store, sweep_image(sweep), found.pop(SWEEP, []))
    for trial, new in found.items():
        _show_or_pass_over(store, trial_image(trials[trial], sweep), new)


def _show_or_pass_over(store: MlflowStore, image: RunImage, new: Sequence[Point]) -> None:
    try:
        store.show(image, new)
    except Refused as error:
        _log.warning("passed over %s: %s", image.trial or "the sweep's run", error)


def _upload_results(store: MlflowStore, folder: Path) -> None:
    if (folder / "results.json").is_file():
        store.upload(SWEEP, folder / "results.json")
    if (folder / CARD).is_file():
        store.upload(SWEEP, folder / CARD, "best")
    if (folder / "report").is_dir():
        store.upload(SWEEP, folder / "report", "report")
