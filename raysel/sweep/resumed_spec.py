"""The sweep file of a sweep that goes on: as it was last run, and with what may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysel.common.errors import Problem, UserError
from raysel.common.locations import sweep_url
from raysel.record.events import Record
from raysel.record.layout import SweepFolder
from raysel.record.state import fold_sweep
from raysel.spec.reader import parse_resolved
from raysel.spec.sweep import Spec
from raysel.sweep.own_record import lost_spec, own_spec

MAY_CHANGE = (
    *("search.num_trials", "confirm.splits", "confirm.seeds", "budget"),
    *("confirm.configurations", "source.gate"),
    *("confirm.until", "confirm.max_runs", "confirm.smallest_effect", "verdict"),
    "resources.max_concurrent_trials",
    *("resources.custom", "resources.labels"),  # where a trial runs, not what it computes
    "training.cache_features",
    *("description", "tracking", "storage"),
    *(
        "task.root",
        "task.cache",
        "task.download",
        "task.max_unreadable_fraction",
    ),  # the split is the same
)
"""Keys that may change when a sweep is resumed: earlier results keep their meaning."""


def stored_spec(spec: Spec, folder: SweepFolder) -> Spec | None:
    """The sweep of that name as it was last run, None if there is none.

    One that is found in the record that `spec` names has its record there, wherever its own file
    says that it was: a database may move. One in the folder alone has it where its file says.

    Raises:
        OperationalError: its file is lost, and its record has it.
    """
    lost = spec.database_url is None and lost_spec(folder) is not None
    here = own_spec(folder) if lost or folder.spec.is_file() else None
    if spec.database_url is None or (here is not None and here.database_url is None):
        return here
    record = Record(sweep_url(spec.database_url, folder.record, spec.name))
    text = fold_sweep(stored.event for stored in record.events()).spec
    record.close()
    return (
        parse_resolved(text).model_copy(update={"database_url": spec.database_url})
        if text
        else here
    )


def continued(stored: Spec, wanted: Spec) -> Spec:
    """The sweep `stored` with the changes of `wanted`, as it will be resumed.

    Raises:
        UserError: something would change what the sweep's results mean.
    """
    before, now = _flat(stored.model_dump(mode="json")), _flat(wanted.model_dump(mode="json"))
    changed = [
        Problem(
            key,
            f"{before.get(key)!r} in the sweep, {now.get(key)!r} now. Another value makes another "
            f"sweep: raysel run FILE --set name={stored.name}-2",
        )
        for key in {**before, **now}
        if before.get(key) != now.get(key) and not _free(key)
    ]
    if changed:
        raise UserError(*changed)
    return wanted


def _free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in MAY_CHANGE)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        items = [_flat(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()]
        return {key: item for part in items for key, item in part.items()}
    return {path: value}
