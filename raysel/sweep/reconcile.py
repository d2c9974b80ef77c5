"""`raysel reconcile`: compare the record with MLflow, and repair both.

The record is authoritative. A trial whose driver is gone becomes INTERRUPTED in it, and what MLflow
lacks is sent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raysel.common.errors import OperationalError
from raysel.common.locations import sweep_command, sweep_url
from raysel.mlflow_sync.process import EVENTS_CURSOR, FILES_CURSOR, WriterProcess, environment
from raysel.record.event_log import EventLog
from raysel.record.events import SWEEP, Event, Kind, Record
from raysel.record.failure_kind import FailureKind, failed_end
from raysel.record.layout import SweepFolder, tracking_uri, write_json
from raysel.record.mlflow_page import refuse_other_folder
from raysel.record.ownership import OwnedElsewhere, Owner
from raysel.record.read_only import is_behind
from raysel.record.state import CLOSED, ENDED, RUNNING, TrialState, fold, fold_sweep
from raysel.spec.sweep import Spec
from raysel.sweep.copied import refuse_copy
from raysel.sweep.existing import owned
from raysel.sweep.export_process import EXPORTER
from raysel.sweep.manifest import manifest_problem
from raysel.sweep.own_record import ID, own_events, own_spec
from raysel.sweep.replica import FRESH_SECONDS, replica_of, run_elsewhere, storage_errors
from raysel.sweep.split import remake_split, split_problem
from raysel.sweep.views import folder_of, holder_of

if TYPE_CHECKING:
    from raysel.mlflow_sync.audit import Audit

_GONE = "its driver is gone"
_FILES = "some files are not sent yet"

SEND_SECONDS = 120.0
"""How long to wait for MLflow."""


@dataclass
class Reconciled:
    """The differences that were found, in sentences.

    Attributes:
        record, mlflow: the differences.
        mended: whether they were to be repaired.
        left: what still differs after that; of a dry run, what would.
        mlflow_away: why MLflow could not be compared.
    """

    sweep: str
    record: list[str]
    mlflow: list[str]
    mended: bool
    mlflow_away: str | None = None
    left: list[str] = field(default_factory=list)

    @property
    def agree(self) -> bool:
        """Whether the record and MLflow agree now."""
        found = bool(self.record or self.mlflow)
        return self.mlflow_away is None and not self.left and (self.mended or not found)

    def lines(self, storage: str) -> Iterator[str]:
        """For a person to read; `storage` is where the sweep lies."""
        for place in ("record", "mlflow"):
            for words in getattr(self, place):
                yield f"{place:7} {words}"
        for words in self.left:
            yield f"left    {words}"
        if self.mlflow_away:
            again = sweep_command("reconcile", self.sweep, storage)
            yield f"mlflow  {self.mlflow_away}; again later: {again}"
        elif not (self.record or self.mlflow or self.left):
            yield f"{self.sweep}: record and MLflow agree"
        elif self.agree:
            yield f"{self.sweep}: mended; record and MLflow agree"


def reconcile_sweep(storage: str, name: str, dry_run: bool, close: bool) -> Reconciled:
    """Compare a sweep's record with MLflow, and repair both.

    Args:
        dry_run: report the differences and change nothing.
        close: trials that were interrupted become FAILED; nobody will resume them.

    Raises:
        UserError: there is no such sweep.
        OperationalError: it is running, or its record cannot be read.
    """
    folder = folder_of(storage, name)
    there = folder.storage_of_its_file(storage)
    spec = own_spec(folder).model_copy(update={"storage": there})
    if dry_run:
        return _looked_at(folder, spec, close)
    if spec.database_url is None and (why := run_elsewhere(folder)) is not None:
        wait = f"in {FRESH_SECONDS / 60:.0f} min, if it is lost"
        raise OperationalError(name, f"{why}; stop it there, or reconcile again {wait}")
    refuse_copy(folder, spec, own_events(folder, spec))  # opening a lost one would make it anew
    owner, record = owned(spec, folder)
    try:
        record.check()
        replica = replica_of(folder, spec.database_url is None)
        found = _Mending(folder, spec, record, owner).mend(close)
        if replica is not None:
            with storage_errors(replica.bucket):
                replica.push()
        return found
    finally:
        owner.release()
        record.close()


def _looked_at(folder: SweepFolder, spec: Spec, close: bool) -> Reconciled:
    """The differences; nothing is written anywhere."""
    if (holder := holder_of(folder, spec)) is not None:
        raise OwnedElsewhere(folder.name, holder, folder.storage)
    url = sweep_url(spec.database_url, folder.record, spec.name)
    events = own_events(folder, spec)
    refuse_copy(folder, spec, events)
    found = Reconciled(folder.name, [w for _, w in _unowned(events, close)], [], mended=False)
    sweep = fold_sweep(events)
    if problem := manifest_problem(folder.manifest, sweep.manifest):
        found.record.append(f"{folder.manifest} {problem}")
    if problem := split_problem(folder, spec, sweep):
        found.record.append(f"{folder.split} {problem}")
    try:
        with _mlflow(spec, folder) as (uri, experiment):
            found.left += _differ(found, _audit(uri, experiment, events, folder), url)
    except OperationalError as error:
        found.mlflow_away = str(error)
    return found


def _unowned(events: Sequence[Event], close: bool) -> Iterator[tuple[TrialState | None, str]]:
    """Trials, and the sweep itself (None), that are RUNNING in the record although nobody runs
    them; those too that are to be closed."""
    for trial in fold(events).values():
        if trial.status == RUNNING:
            yield trial, f"{trial.id}: RUNNING, but nobody runs it"
        elif close and trial.status not in ENDED:
            yield trial, f"{trial.id}: INTERRUPTED, and nobody will resume it"
    if fold_sweep(events).status == RUNNING:
        yield None, "the sweep: RUNNING, but nobody runs it"


@contextmanager
def _mlflow(spec: Spec, folder: SweepFolder) -> Iterator[tuple[str, str]]:
    """MLflow's address and the experiment's name.

    Raises:
        OperationalError: MLflow does not answer inside, or has its file elsewhere.
    """
    os.environ.update(environment(os.environ))  # short time-outs, no telemetry
    from raysel.mlflow_sync.error_messages import mlflow_errors  # noqa: PLC0415

    uri, experiment = tracking_uri(spec), spec.experiment
    refuse_other_folder(folder.path, uri)
    with mlflow_errors(uri, experiment):
        yield uri, experiment


def _audit(uri: str, experiment: str, events: Sequence[Event], folder: SweepFolder) -> Audit:
    from raysel.mlflow_sync.audit import Audit  # noqa: PLC0415

    return Audit(uri, experiment, events, folder.path, str(folder.mlflow_files))


def _differ(found: Reconciled, audit: Audit, record: str) -> list[str]:
    """Add to `found` how MLflow differs; what nobody can mend."""
    found.mlflow = [*audit.differences, *audit.file_differences]
    if not found.mlflow and is_behind(record, FILES_CURSOR):
        found.mlflow.append(_FILES)
    return audit.files.lost


class _Mending:
    def __init__(self, folder: SweepFolder, spec: Spec, record: Record, owner: Owner) -> None:
        self.folder, self.spec, self.owner = folder, spec, owner
        events = _events(record)
        attempts = [e for e in events if e.trial == SWEEP and e.kind != Kind.FINISHED]
        # the driver's last event; the time after it was not spent by the sweep
        last = max((e.at for e in events), default=time.time())
        self.event_log = EventLog(record, max(1, len(attempts)), clock=lambda: last)

    @property
    def events(self) -> list[Event]:
        return _events(self.event_log.record)

    def mend(self, close: bool) -> Reconciled:
        """The record first: MLflow follows from it."""
        found = Reconciled(self.folder.name, self.record(close), [], mended=True)
        self.files(found)
        try:
            self.mlflow(found)
        except OperationalError as error:
            found.mlflow_away = str(error)
        return found

    def record(self, close: bool) -> list[str]:
        """Mark what is RUNNING without a driver as INTERRUPTED, or FAILED."""
        found = list(_unowned(self.events, close))
        for trial, _ in found:
            if trial is None:
                end = {"status": "INTERRUPTED", "cause": _GONE, "verdict": None}
                self.event_log.write(SWEEP, Kind.FINISHED, self.event_log.attempt, end)
                continue
            if trial.status == RUNNING:
                self.event_log.interrupted(trial.id, _GONE)
            if close:
                end = failed_end(FailureKind.CLOSED, CLOSED)
                self.event_log.write(trial.id, Kind.ENDED, len(trial.epochs), end)
        return [words for _, words in found]

    def files(self, found: Reconciled) -> None:
        """Make a lost `manifest.json` again from the record, and a lost or another sweep's
        `split.json` from the data."""
        sweep = fold_sweep(self.events)
        if problem := manifest_problem(self.folder.manifest, sweep.manifest):
            found.record.append(f"{self.folder.manifest} {problem}")
            write_json(self.folder.manifest, {**sweep.manifest, ID: sweep.id})
        if problem := split_problem(self.folder, self.spec, sweep):
            found.record.append(f"{self.folder.split} {problem}")
            if lost := remake_split(self.folder, self.spec, sweep):
                found.left.append(f"{self.folder.split} {lost}")

    def mlflow(self, found: Reconciled) -> None:
        """Send again what differs in MLflow: what it has it keeps once."""
        record = self.event_log.record
        with _mlflow(self.spec, self.folder) as (uri, experiment):
            audit, others = _audit(uri, experiment, self.events, self.folder), found.left
            found.left = others + _differ(found, audit, record.url)
            if not found.mlflow:
                return
            audit.restore_traces()
            audit.remove_surplus()
            if audit.differences:
                for cursor in (EVENTS_CURSOR, FILES_CURSOR):
                    record.move_cursor(cursor, 0)
            elif again := audit.files.to_mend:
                at = min(record.cursor(FILES_CURSOR), self._before(again))
                record.move_cursor(FILES_CURSOR, at)
            self._send(uri, experiment)
            after = _audit(uri, experiment, self.events, self.folder)
            left = [w for w in after.file_differences if not _is_reported(w, after.files.lost)]
            found.left = [*others, *after.differences, *after.files.lost, *left]

    def _before(self, names: Collection[str]) -> int:
        """The place in the record before the first event of these trials, or of the sweep."""
        stored = self.event_log.record.events()
        return min(one.sequence for one in stored if one.event.trial in names) - 1

    def _send(self, uri: str, experiment: str) -> None:
        words: list[str] = []  # the writer's own, where MLflow refuses
        writer = WriterProcess(
            self.event_log.record.url,
            uri,
            experiment,
            self.folder.mlflow_files,
            self.folder.writer_log,
            notify=words.append,
            fence=self.owner.fence,
            folder=self.folder.path,
            program=EXPORTER,
        )
        writer.start()
        began = time.monotonic()
        try:
            sent = writer.drain(SEND_SECONDS)
            waited = time.monotonic() - began
        finally:
            writer.stop()
        if not sent:
            raise OperationalError(
                uri, words[-1] if words else f"did not take everything in {waited:.0f} s"
            )


def _is_reported(words: str, lost: Sequence[str]) -> bool:
    """Whether the same trial's loss is already reported in clearer words."""
    return any(words.partition(":")[0] == one.partition(":")[0] for one in lost)


def _events(record: Record) -> list[Event]:
    return [stored.event for stored in record.events()]
