"""Open a sweep as its owning driver: its folder, its record, its attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from raysel.common.errors import user_error
from raysel.common.locations import sweep_url
from raysel.common.text import and_more
from raysel.record.event_log import EventLog
from raysel.record.events import SWEEP, Event, Kind, Record, StoredEvent
from raysel.record.layout import SweepFolder, make_folder, write_json, write_whole
from raysel.record.ownership import FileOwner, LeaseOwner, Owner
from raysel.record.state import SweepState, fold, fold_sweep
from raysel.search.prior import Prior, of_record
from raysel.spec import user_code
from raysel.spec.sweep import Spec
from raysel.sweep.backup import BackupThread, backup_thread_of
from raysel.sweep.copied import own_identity
from raysel.sweep.manifest import first_manifest, kept, manifest, new_sweep_id
from raysel.sweep.own_record import (
    ID,
    known_id,
    refuse_lost,
    refuse_other,
)
from raysel.sweep.priors import read_prior
from raysel.sweep.replica import BucketReplica, checkpoints, replica_of
from raysel.sweep.split import digest_of, keep_split, refuse_other_split
from raysel.sweep.storage_watch import StorageWatch
from raysel.training import checkpoint

if TYPE_CHECKING:
    from raysel.sweep.inputs import SweepInputs

DELIVER_SECONDS = 60.0
"""How long a sweep that ends waits for its bucket."""


@dataclass
class OwnedSweep:
    """Everything that the driver holds while it owns a sweep.

    Attributes:
        id: the sweep's permanent id.
        url: of the record.
        replica: sends the folder to its bucket, if there is one.
        backup_thread: keeps the second copy: of the record, and of the files in a bucket.
        watch: over the files that were opened.
        spent: seconds of earlier attempts.
        prior: what it took from earlier sweeps when it began.
    """

    id: str
    folder: SweepFolder
    url: str
    event_log: EventLog
    owner: Owner
    backup_thread: BackupThread | None
    watch: StorageWatch
    spent: float
    replica: BucketReplica | None = None
    prior: Prior | None = None

    def discard_checkpoints(self, trial: str) -> None:
        """Delete the checkpoints of a trial that will not be resumed."""
        _discard_checkpoints(self.folder, self.replica, trial)

    def checkpoint(self, trial: str) -> dict[str, Any] | None:
        """A trial's newest checkpoint, wherever it lies: here, in the bucket, or on the disk of
        the node that ran it."""
        if self.folder.bucket is not None:
            return checkpoints(self.folder.bucket, trial).newest()[0]
        here, path = None, self.folder.trial(trial) / checkpoint.NAME
        with suppress(checkpoint.DamagedCheckpoint):
            here = checkpoint.read(path, trial) if path.exists() else None
        events = (stored.event for stored in self.event_log.record.events())
        if here is not None and here["epoch"] == len(fold(events)[trial].epochs):
            return here
        from raysel.engine.nodes import brought  # noqa: PLC0415  # it takes Ray and torch

        found = [*([here] if here is not None else []), *brought(self.folder.path, trial)]
        return max(found, key=lambda state: int(state["epoch"]), default=None)

    def log_of_the_end(self) -> EventLog:
        """Where the sweep's end is written: into the record also where only the trials' files are
        gone."""
        gone = self.watch.gone()
        if gone is None or not gone.record_is_whole:
            return self.event_log
        return EventLog(self.event_log.record, self.event_log.attempt)

    def deliver(self) -> None:
        """Wait until the bucket, if there is one, has everything; not for ever.

        Raises:
            OperationalError: it does not answer.
        """
        if self.backup_thread is None or self.replica is None:
            return
        self.backup_thread.close(DELIVER_SECONDS)
        if self.backup_thread.problem is not None:
            raise self.replica.undelivered_error(self.backup_thread.problem)

    def close(self) -> None:
        """Release everything."""
        if self.backup_thread is not None:
            self.backup_thread.close()
        self.watch.close()
        self.owner.release()
        self.event_log.record.close()


def open_sweep(
    inputs: SweepInputs,
    folder: SweepFolder,
    observe: Callable[[Event], None],
    stop: Callable[[str], None],
    lost: Callable[[Exception], None],
    notify: Callable[[str], None],
) -> OwnedSweep:
    """Own the sweep and begin a driver attempt.

    Args:
        observe: called with every event.
        stop: is called with the cause when the sweep is to end.
        lost: is called when another driver has taken the sweep over, or its files are gone.
        notify: called when its bucket, or the copy of its record, is away and when it is back;
            from another thread.

    Raises:
        UserError: the data are not those that the sweep began with.
        OperationalError: another driver owns it, or its record is damaged or out of reach.
    """
    spec = inputs.spec
    if spec.database_url is None and folder.spec.exists():
        refuse_lost(folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    owner, record = owned(spec, folder, stop, lost)
    try:
        events = _own_events(spec, folder, record, notify)
        replica = replica_of(folder, spec.database_url is None)
        sweep = fold_sweep(stored.event for stored in events)
        prior = _prior(inputs, sweep)
        facts = manifest() | {"code": user_code.hashes(inputs.code)}
        facts = first_manifest(sweep.manifest, facts)
        refuse_other_split(folder, inputs.task, sweep.split)
        for own in inputs.each:
            recorded = sweep.layers_by_model.get(own.model_config.name, sweep.layers)
            _refuse_other_layers(recorded, own.layers.names, spec.name)
        own_id = sweep.id or known_id(folder) or new_sweep_id(spec.name)
        write_files = partial(_write_files, inputs, folder, facts | {ID: own_id})
        write_files()
        make_folder(folder.trials)  # workers make none: it would hide one that was moved
        watch = StorageWatch(folder, spec.database_url is None, write_files, lost)
        backup_thread = _backup_thread(spec, folder, replica, notify, lost)
    except BaseException:
        owner.release()
        raise
    attempt = 1 + sum(_begins(stored.event) for stored in events)
    event_log = EventLog(
        record, attempt, _observer(folder, replica, backup_thread, observe), watch.check
    )
    _record_attempt(event_log, inputs, folder, facts, own_id, prior)
    spent = _spent(events)
    return OwnedSweep(
        own_id, folder, record.url, event_log, owner, backup_thread, watch, spent, replica, prior
    )


def _prior(inputs: SweepInputs, sweep: SweepState) -> Prior | None:
    """What the sweep took from earlier ones when it began; read from them if it begins now."""
    if sweep.spec:
        return of_record(sweep.prior) if sweep.prior else None
    spec = inputs.spec
    return read_prior(spec, inputs.space) if spec.search.prior else None


def _refuse_other_layers(recorded: Sequence[str], now: Sequence[str], name: str) -> None:
    """A trial that goes on over layers that are cut or ordered otherwise is another trial.

    Raises:
        UserError: a raysel or timm of another version cuts the model otherwise.
    """
    if not recorded or list(recorded) == list(now):
        return
    change = f"the sweep began with {and_more(recorded)}; the model is now cut into {and_more(now)}"
    way_on = "go on with the versions of raysel and timm in manifest.json"
    raise user_error("model.partition", f"{change}; {way_on}, or begin anew: --set name={name}-2")


def _own_events(
    spec: Spec, folder: SweepFolder, record: Record, notify: Callable[[str], None]
) -> list[StoredEvent]:
    """The record's events, after a check that they are intact and belong to this sweep."""
    record.check()
    events = [stored.event for stored in record.events()]
    refuse_other(folder, spec, events)
    if done := own_identity(folder, spec, record, events):
        notify(done)
    return record.events()


def _backup_thread(
    spec: Spec,
    folder: SweepFolder,
    replica: BucketReplica | None,
    notify: Callable[[str], None],
    lost: Callable[[Exception], None],
) -> BackupThread | None:
    if replica is not None:
        return BackupThread(replica.push, notify, lost)
    return backup_thread_of(folder, notify) if spec.database_url is None else None


def owned(
    spec: Spec,
    folder: SweepFolder,
    stop: Callable[[str], None] = lambda _: None,
    lost: Callable[[Exception], None] = lambda _: None,
) -> tuple[Owner, Record]:
    """The sweep's ownership and its record: a lock or a lease, not both, so that neither a
    frozen driver's lock nor another machine's lease keeps the next one out for ever.

    Raises:
        OperationalError: another driver owns it, or its record is damaged or out of reach.
    """
    url = sweep_url(spec.database_url, folder.record, spec.name)
    if spec.database_url is not None:
        record = Record(url)
        return LeaseOwner(
            record.engine, spec.name, spec.storage, lambda: stop(_STOPPED), lost
        ), record
    lock = FileOwner(folder.lock, folder.name)
    try:
        return lock, Record(url)
    except BaseException:
        lock.release()
        raise


_STOPPED = "stopped by raysel stop"


def _write_files(inputs: SweepInputs, folder: SweepFolder, facts: Mapping[str, Any]) -> None:
    """Write the sweep file last: it marks the folder as a sweep."""
    written = kept(folder.manifest)
    if not written:
        for source in inputs.code:
            write_whole(folder.code / source.name, source.text)
    # a job's sweep that was extended was sent under a new id
    new = {key: facts[key] for key in ("sent_as", ID) if key in facts}
    if (whole := {**(written or facts), **new}) != written:
        write_json(folder.manifest, whole)
    keep_split(folder, inputs.task)
    text = inputs.spec.to_yaml()
    if not folder.spec.exists() or folder.spec.read_text(encoding="utf-8") != text:
        write_whole(folder.spec, text)


def _record_attempt(
    event_log: EventLog,
    inputs: SweepInputs,
    folder: SweepFolder,
    facts: Mapping[str, Any],
    own_id: str,
    prior: Prior | None,
) -> None:
    spec = inputs.spec
    split = digest_of(inputs.task.record)
    payload = {
        "name": spec.name,
        ID: own_id,
        "description": spec.description,
        "spec": spec.to_yaml(),
        "layers": list(inputs.every_layer),
        "layer_sizes": list(inputs.layer_sizes),
        **({"layers_by_model": inputs.layers_by_model} if inputs.by_model else {}),
        "manifest": facts,
        "folder": str(folder.path),
        "objective": spec.objective.model_dump(),
        "split": split,
        **({} if prior is None else {"prior": prior.to_dict()}),
    }
    if not event_log.write(SWEEP, Kind.SWEEP, 0, payload):
        again = {"spec": spec.to_yaml(), "folder": str(folder.path), "split": split}
        event_log.write(SWEEP, Kind.RESUMED, event_log.attempt, again)


def _observer(
    folder: SweepFolder,
    replica: BucketReplica | None,
    backup_thread: BackupThread | None,
    observe: Callable[[Event], None],
) -> Callable[[Event], None]:
    """What follows a committed event: it is copied and shown, and a trial of the search that has
    ended needs no checkpoint any more."""

    def observer(event: Event) -> None:
        if backup_thread is not None:
            backup_thread.written(important=event.kind == Kind.ENDED)
        observe(event)
        if event.kind == Kind.ENDED and event.trial.isdigit():
            _discard_checkpoints(folder, replica, event.trial)

    return observer


def _discard_checkpoints(folder: SweepFolder, replica: BucketReplica | None, trial: str) -> None:
    checkpoint.InFolder(folder.trial(trial)).remove()
    if replica is not None:
        replica.discard_checkpoints(trial)


def _begins(event: Event) -> bool:
    return event.trial == SWEEP and event.kind in (Kind.SWEEP, Kind.RESUMED)


def _spent(events: Iterable[StoredEvent]) -> float:
    """Seconds of all attempts: of each from its beginning to its last event."""
    listed = [stored.event for stored in events]
    starts = [index for index, event in enumerate(listed) if _begins(event)]
    attempts = pairwise([*starts, len(listed)])
    return sum(max(0.0, listed[end - 1].at - listed[start].at) for start, end in attempts)
