"""A sweep whose folder is a copy of another's, and how their runs stay separate in MLflow.

MLflow's runs belong to a sweep's id, which is copied with the folder: two sweeps with one id
would write to the same runs. A copy therefore continues under a new id. A folder that was
moved, or that a link leads to, is the sweep itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from raysel.common.errors import OperationalError
from raysel.common.text import NAME, one_line
from raysel.mlflow_sync.process import EVENTS_CURSOR, FILES_CURSOR
from raysel.record.events import Event, Record
from raysel.record.layout import SweepFolder, tracking_uri, write_json
from raysel.record.state import fold_sweep
from raysel.spec.sweep import Spec
from raysel.sweep.manifest import kept, new_sweep_id
from raysel.sweep.own_record import COPY_OF, ID, known_id, own_events


def original_of(folder: SweepFolder, spec: Spec, events: Iterable[Event]) -> Path | None:
    """The folder of the sweep with the same id and the same MLflow of which this one is a copy;
    None if it is no copy."""
    sweep = fold_sweep(events)
    if folder.bucket is not None or spec.database_url is not None or not sweep.id:
        return None
    if not sweep.folder or Path(sweep.folder) == folder.path:
        return None
    store = tracking_uri(spec.model_copy(update={"storage": str(folder.root)}))
    for other in _others(folder, Path(sweep.folder), folder.name != sweep.name):
        there = spec.model_copy(update={"storage": str(other.root)})
        if tracking_uri(there) == store and _id_of(other, spec) == sweep.id:
            return other.path
    return None


def refuse_copy(folder: SweepFolder, spec: Spec, events: Iterable[Event]) -> None:
    """Raise `OperationalError` where its runs in MLflow are those of the sweep that was copied."""
    if (original := original_of(folder, spec, events)) is not None:
        words = f"is a copy of {original}, whose runs MLflow has; runs of its own: "
        raise OperationalError(folder.name, words + folder.resume())


def own_identity(
    folder: SweepFolder, spec: Spec, record: Record, events: Iterable[Event]
) -> str | None:
    """Give a copy an id of its own, in its manifest first and then in its record.

    Returns:
        A message about what was done; None if nothing was to be done.
    """
    listed = list(events)
    manifest = kept(folder.manifest)
    there = fold_sweep(listed).id
    if there and manifest.get(COPY_OF) == there and manifest.get(ID) != there:
        own_id = str(manifest[ID])  # a driver was killed in between
    elif original_of(folder, spec, listed) is not None:
        own_id = new_sweep_id(spec.name)
        write_json(folder.manifest, {**manifest, ID: own_id, COPY_OF: there})
    else:
        return None
    record.rename_sweep(own_id, (EVENTS_CURSOR, FILES_CURSOR))
    there = one_line(there, NAME)
    return f"{folder.name} is a copy of {there}: it goes on as {own_id}, with runs of its own"


def _others(folder: SweepFolder, recorded: Path, renamed: bool) -> Iterator[SweepFolder]:
    """Where the original may lie: where the record says, or beside a copy of another name."""
    files = folder.path.parent.glob("*/sweep.db") if renamed else ()
    beside = sorted(path.parent for path in files)
    for path in dict.fromkeys([recorded, *beside]):
        other = SweepFolder(path)
        if other.record.is_file() and not other.path.samefile(folder.path):
            yield other


def _id_of(other: SweepFolder, spec: Spec) -> str | None:
    if found := known_id(other):
        return found
    try:
        return fold_sweep(own_events(other, spec)).id
    except OperationalError:
        return None  # its record cannot be read
