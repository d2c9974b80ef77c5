"""`raysel reconcile`: the record, the study and MLflow compared, and mended.

The record is the truth. A trial whose driver is gone becomes INTERRUPTED in it, the study is
made anew where it says otherwise, and what MLflow lacks is sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from raysel.errors import Trouble
from raysel.models.layers import Partition, partition_of
from raysel.places import sweep_url
from raysel.space import Space
from raysel.spec import Spec
from raysel.spec_file import load
from raysel.sweep.agreement import compared, rebuild
from raysel.sweep.books import Books
from raysel.sweep.folder import SweepFolder
from raysel.sweep.opening import owned
from raysel.sweep.session import existing_folder, tracking_uri
from raysel.sweep.stopping import holder_of
from raysel.tasks.catalog import task_shape
from raysel.tracking.database import told
from raysel.tracking.owner import Held, Owner
from raysel.tracking.process import EVENTS_CURSOR, FILES_CURSOR, WriterProcess, environment
from raysel.tracking.record import SWEEP, Event, Kind, Record
from raysel.tracking.state import ENDED, RUNNING, fold, fold_sweep

SEND_SECONDS = 120.0
"""How long MLflow is waited for."""


@dataclass
class Reconciled:
    """What was found, place by place, in sentences.

    Attributes:
        record, study, mlflow: the differences.
        mended: whether they were mended.
        mlflow_away: why MLflow could not be compared.
    """

    sweep: str
    record: list[str]
    study: list[str]
    mlflow: list[str]
    mended: bool
    mlflow_away: str | None = None

    @property
    def agree(self) -> bool:
        """Whether the three records agree now."""
        found = bool(self.record or self.study or self.mlflow)
        return self.mlflow_away is None and (self.mended or not found)

    def lines(self) -> Iterator[str]:
        """For a person to read."""
        for place in ("record", "study", "mlflow"):
            for words in getattr(self, place):
                yield f"{place:7} {words}"
        if self.mlflow_away:
            yield f"mlflow  {self.mlflow_away}; again later: raysel reconcile {self.sweep}"
        elif not (self.record or self.study or self.mlflow):
            yield f"{self.sweep}: record, study and MLflow agree"
        elif self.mended:
            yield f"{self.sweep}: mended; record, study and MLflow agree"


def reconcile_sweep(storage: str, name: str, dry_run: bool, close: bool) -> Reconciled:
    """Compare the three records of a sweep, and mend them.

    Args:
        dry_run: tell what differs and mend nothing.
        close: trials that were interrupted become FAILED; nobody will resume them.

    Raises:
        UserError: there is no such sweep.
        Trouble: it is running, or its record cannot be read.
    """
    folder = existing_folder(storage, name)
    spec = load(folder.spec).model_copy(update={"storage": storage})
    with _opened(folder, spec, dry_run) as (record, owner):
        work = _Work(folder, spec, record, owner)
        found = Reconciled(name, work.record_differences(close), work.study(), [], not dry_run)
        work.mlflow(found)
        return found


@contextmanager
def _opened(
    folder: SweepFolder, spec: Spec, dry_run: bool
) -> Iterator[tuple[Record, Owner | None]]:
    """The record, and the sweep's ownership unless nothing is to be changed."""
    owner: Owner | None = None
    if not dry_run:
        owner, record = owned(spec, folder)
    elif (holder := holder_of(folder)) is not None:
        raise Held(spec.name, holder)
    else:
        record = Record(sweep_url(spec.record, folder.record, spec.name))
    try:
        record.check()
        yield record, owner
    finally:
        if owner is not None:
            owner.release()
        record.close()


class _Work:
    def __init__(
        self, folder: SweepFolder, spec: Spec, record: Record, owner: Owner | None
    ) -> None:
        self.folder, self.spec, self.owner, self.dry_run = folder, spec, owner, owner is None
        lives = [e for e in _events(record) if e.trial == SWEEP and e.kind != Kind.FINISHED]
        self.books = Books(record, max(1, len(lives)))

    @property
    def events(self) -> list[Event]:
        return _events(self.books.record)

    def record_differences(self, close: bool) -> list[str]:
        """Trials and the sweep that are RUNNING without anybody who runs them."""
        found = []
        for trial in fold(self.events).values():
            if trial.status == RUNNING:
                found.append(f"{trial.id}: RUNNING, but nobody runs it")
                if not self.dry_run:
                    self.books.interrupted(trial.id, "its driver is gone")
            if close and trial.status not in ENDED:
                found.append(f"{trial.id}: interrupted and closed now")
                if not self.dry_run:
                    self._close(trial.id, len(trial.epochs))
        if fold_sweep(self.events).status == RUNNING:
            found.append("the sweep: RUNNING, but nobody runs it")
            if not self.dry_run:
                payload = {"status": "INTERRUPTED", "cause": "its driver is gone", "verdict": None}
                self.books.write(SWEEP, Kind.FINISHED, self.books.life, payload)
        return found

    def _close(self, trial: str, epoch: int) -> None:
        payload = {"status": "FAILED", "cause": "closed by raysel reconcile", "value": None}
        self.books.write(trial, Kind.ENDED, epoch, payload)

    def study(self) -> list[str]:
        """What the study says otherwise; made anew from the record."""
        url = self.books.record.url
        space = Space(self.spec, _partition(self.spec).names)
        states = fold(self.events)
        study, found = compared(self.spec, space, url, lambda _: states, self.owner)
        if (study is None or found) and not self.dry_run:
            with told(url):
                rebuild(self.spec, space, url, self.events, self.owner)
        return found

    def mlflow(self, found: Reconciled) -> None:
        """What MLflow says otherwise; sent anew."""
        os.environ.update(environment(os.environ))  # short time-outs, no telemetry
        from raysel.tracking.audit import Audit, answering  # noqa: PLC0415

        uri = tracking_uri(self.spec)
        experiment = self.spec.tracking.experiment or self.spec.name
        try:
            with answering(uri, experiment):
                audit = Audit(uri, experiment, self.events)
                found.mlflow = audit.differences
                if audit.differences and not self.dry_run:
                    audit.remove_surplus()
                    self._send(uri, experiment)
        except Trouble as trouble:
            found.mlflow_away = str(trouble)

    def _send(self, uri: str, experiment: str) -> None:
        """Everything again: what MLflow has it keeps once."""
        record = self.books.record
        for cursor in (EVENTS_CURSOR, FILES_CURSOR):
            record.move_cursor(cursor, 0)
        writer = WriterProcess(
            record.url,
            uri,
            experiment,
            self.folder.path.parent / "mlartifacts",
            self.folder.writer_log,
            fence=self.owner.fence if self.owner else None,
        )
        writer.start()
        try:
            if not writer.drain(SEND_SECONDS):
                raise Trouble(uri, f"did not take everything within {SEND_SECONDS:g} s")
        finally:
            writer.stop()


def _events(record: Record) -> list[Event]:
    return [stored.event for stored in record.events()]


def _partition(spec: Spec) -> Partition:
    shape = task_shape(spec.task)
    model = spec.model
    return partition_of(model.name, model.partition, shape.class_count, shape.channels, model.head)
