"""A sweep's split in its folder: which example is in which part, the same in every attempt.

The record has its digest, so that a file that was lost, damaged or replaced is found, and is made
again from the data where these still give the same split.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysel.common.disk_errors import cannot, is_denied
from raysel.common.errors import OperationalError, UserError, user_error
from raysel.common.text import NAME, one_line
from raysel.common.user_files import MIB, any_error_as, read_regular, reason
from raysel.record.layout import SweepFolder, write_json
from raysel.record.state import SweepState
from raysel.spec import user_code
from raysel.spec.sweep import Spec
from raysel.tasks.split_file import digest_of as digest_of
from raysel.tasks.split_file import what_changed

if TYPE_CHECKING:  # it imports torch
    from raysel.tasks.data import Task

_MOST_BYTES = 512 * MIB
"""Of a split, as of `raysel.tasks.split_file`."""


DENIED = "cannot be read (permission denied)"
"""How `split_problem` begins where the file is there, and this user may not read it."""


def keep_split(folder: SweepFolder, task: Task) -> None:
    """Write `split.json`, unless it is there with as many splits of the confirm phase."""
    if not folder.split.exists() or _draws(folder) < len(task.draws):
        write_json(folder.split, task.record)


def refuse_other_split(folder: SweepFolder, task: Task, recorded: str = "") -> None:
    """Refuse to resume a sweep with other examples than it began with.

    Where the record knows them, a file that is not theirs is set aside, to be written anew.

    Args:
        recorded: the digest in the record; empty where the record has none: the file decides.

    Raises:
        UserError: the data set, or what of it can be read, has changed.
        OperationalError: the file is damaged, and the record has no digest.
    """
    if recorded:
        own = _own_split(folder, recorded)
        _refuse_change(own, task, recorded)
        if own is None:
            _set_aside(folder)
        return
    if not folder.split.is_file():
        return
    began = read_split(folder.split)
    if isinstance(began, str):
        way_on = (
            "remove it, and it is made anew from the data as they are now; whether these are the"
            f" same is checked by: raysel reproduce {folder.name} 0"
        )
        raise OperationalError(str(folder.split), f"{began}; {way_on}")
    if digest_of(began) != digest_of(task.record):
        raise _other_data(what_changed(began, task.record) or str(folder.split))


def refuse_changed_data(folder: SweepFolder, task: Task, recorded: str) -> None:
    """Refuse data that are not those of the sweep.

    Args:
        recorded: the digest in the record; empty in an older one: nothing is refused.

    Raises:
        UserError: they give another split, or the pictures have other names.
    """
    if recorded:
        _refuse_change(_own_split(folder, recorded), task, recorded)


def _refuse_change(own: Mapping[str, Any] | None, task: Task, recorded: str) -> None:
    changed = None if own is None else what_changed(own, task.record)
    if changed or digest_of(task.record) != recorded:
        raise _other_data(changed or "the record has another split")


def _other_data(how: str) -> UserError:
    return user_error(
        "task.data",
        f"the data are not those that the sweep began with ({how}): its trials could"
        " not be compared. Bring the data back, or begin a new sweep: --set name=NAME",
    )


def split_problem(folder: SweepFolder, spec: Spec, sweep: SweepState) -> str | None:
    """What is wrong with a sweep's `split.json`, in words that follow its name; None where nothing
    is.

    In the record of an older raysel there is no digest: then seed and data set are compared.
    """
    if not sweep.id:
        return None  # nothing has begun
    found = read_split(folder.split)
    if isinstance(found, str):
        return found
    seed, data = spec.task.split.seed, spec.task.name
    if found.get("seed", seed) != seed or (not sweep.split and found.get("data") != data):
        of = f"{one_line(found.get('data'), NAME)} with seed {one_line(found.get('seed'), NAME)}"
        return f"is another sweep's: a split of {of}, not of {data} with seed {seed}"
    if sweep.split and digest_of(found) != sweep.split:
        return "is another sweep's: it has other examples than this sweep was run with"
    return None


def _own_split(folder: SweepFolder, recorded: str) -> dict[str, Any] | None:
    """The content of `split.json`; None where it is not there, damaged or another sweep's."""
    found = read_split(folder.split)
    return None if isinstance(found, str) or digest_of(found) != recorded else found


def remake_split(folder: SweepFolder, spec: Spec, sweep: SweepState) -> str | None:
    """Make a lost `split.json` again from the data, if they still give the recorded one.

    Args:
        spec: with the storage where the folder lies now.

    Returns:
        What was lost, in words that follow its name; None where it was made.
    """
    from raysel.sweep.inputs import task_of  # noqa: PLC0415  # it imports torch

    problem = split_problem(folder, spec, sweep) or ""
    if problem.startswith(DENIED):
        return problem
    if not sweep.split:
        return (
            "can no longer be proved: the record of an older raysel does not say which examples"
            f" were in which part; that the data still give them is checked by: raysel reproduce"
            f" {folder.name} 0; then remove it, and {folder.resume()} writes it anew"
        )
    try:
        user_code.load(user_code.read(spec.listed_code, folder.path))
        task = task_of(spec, splits=spec.confirm.most_splits)
    except (UserError, OperationalError) as error:
        return f"needs the data, to be made again: {' · '.join(str(error).splitlines())}"
    if digest_of(task.record) != sweep.split:
        return (
            "is lost: the data are not those that the sweep began with, so which examples were in"
            " which part is known no more"
        )
    _set_aside(folder)
    keep_split(folder, task)
    return None


def _set_aside(folder: SweepFolder) -> None:
    with suppress(FileNotFoundError):
        folder.split.rename(folder.split.with_name(f"{folder.split.name}.other-{time.time_ns()}"))


def read_split(file: Path) -> dict[str, Any] | str:
    """The content; what is wrong, in words that follow the file's name, where it is no split."""
    try:
        with any_error_as(lambda why: ValueError(why), passing=(OSError,)):
            found = json.loads(read_regular(file, _MOST_BYTES).decode("utf-8"))
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        if is_denied(error):
            return cannot("be read", error, file)
        return f"is damaged: {reason(error)}"
    except ValueError as error:
        return f"is damaged: {error}"
    if not isinstance(found, dict) or not isinstance(found.get("parts"), dict):
        return "is damaged: it holds no parts"
    return found


def _draws(folder: SweepFolder) -> int:
    """Number of splits of the confirm phase that the file holds; a damaged one holds none."""
    found = read_split(folder.split)
    return 0 if isinstance(found, str) else len(found.get("draws", ()))
