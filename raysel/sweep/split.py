"""A sweep's split in its folder: which example is in which part, the same in every attempt."""

from __future__ import annotations

import json
import sys

from raysel.common.errors import OperationalError, user_error
from raysel.common.user_files import any_error_as
from raysel.record.layout import SweepFolder, write_json
from raysel.tasks.data import Task


def keep_split(folder: SweepFolder, task: Task) -> None:
    """Write `split.json`, unless it is there with as many splits of the confirm phase."""
    if not folder.split.exists() or _draws(folder) < len(task.draws):
        write_json(folder.split, task.record)


def refuse_other_split(folder: SweepFolder, task: Task) -> None:
    """Refuse to resume a sweep with other examples than it began with.

    Raises:
        UserError: the data set, or what of it can be read, has changed.
    """
    if not folder.split.is_file():
        return
    with any_error_as(lambda why: OperationalError(str(folder.split), f"cannot be read: {why}")):
        began = dict(json.loads(folder.split.read_text(encoding="utf-8")))
    if all(began.get(key) == task.record.get(key) for key in ("fingerprint", "parts")):
        return
    raise user_error(
        "task.data",
        f"the data are not those that the sweep began with ({folder.split}): its trials could"
        " not be compared. Bring the data back, or begin a new sweep: --set name=NAME",
    )


def _draws(folder: SweepFolder) -> int:
    """Number of splits of the confirm phase that the file holds."""
    try:
        return len(json.loads(folder.split.read_text(encoding="utf-8")).get("draws", ()))
    except Exception:  # a damaged file is refused where it is compared
        return sys.maxsize
