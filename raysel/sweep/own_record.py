"""Read a sweep's record, sweep file and results, and report lost or foreign ones.

The record, the sweep file and `results.json` are three files of one folder. One of them may be
gone, emptied, or another sweep's by the time of the next command. Every command
reads them through here, so that all report it in the same line.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from raysel.common.disk_errors import cannot, is_denied
from raysel.common.errors import OperationalError, UserError
from raysel.common.locations import sqlite_url, sweep_url
from raysel.common.text import NAME, one_line
from raysel.common.user_files import MIB, read_regular, reason
from raysel.record.events import SWEEP, Event
from raysel.record.layout import SweepFolder
from raysel.record.read_only import read_events
from raysel.record.state import COMPLETE, SweepState, fold_sweep
from raysel.spec import reader
from raysel.spec.reader import MOST_BYTES
from raysel.spec.sweep import Spec
from raysel.sweep.manifest import kept
from raysel.sweep.results import SweepResults

_MOST_RESULTS = 1024 * MIB
"""Of a results.json."""

ID = "sweep_id"
"""The key of the sweep's id in `manifest.json`, in `results.json` and in its first event."""

COPY_OF = "copy_of"
"""In `manifest.json`: the id of the sweep whose folder was copied (`raysel.sweep.copied`)."""


# --- the record ----------------------------------------------------------------------------------


def own_events(folder: SweepFolder, spec: Spec) -> list[Event]:
    """Every event of a sweep's record.

    Raises:
        OperationalError: it is lost, cannot be read, or is the record of another sweep.
    """
    if spec.database_url is None:
        refuse_lost(folder)
    events = read_events(sweep_url(spec.database_url, folder.record, spec.name))
    refuse_other(folder, spec, events)
    return events


def refuse_lost(folder: SweepFolder) -> None:
    """Raise `OperationalError`, with a remedy, for a begun sweep without its SQLite record."""
    if lost := folder.lost_record:
        raise OperationalError(str(folder.record), f"{lost}; {folder.way_back}")


def refuse_other(folder: SweepFolder, spec: Spec, events: list[Event]) -> None:
    """Check that record and folder belong to the same sweep: by id, in folders of an older
    raysel by name.

    Raises:
        OperationalError: it is another sweep's, or holds none while its copy does.
    """
    if not any(event.trial == SWEEP for event in events):
        if spec.database_url is None and folder.backup.is_file():
            raise OperationalError(
                str(folder.record), f"has none of the sweep's events; {folder.way_back}"
            )
        return
    if wrong := others(folder, events, spec.name):
        way_on = "" if spec.database_url else f"; put its own back, or {folder.way_back}"
        raise OperationalError(str(folder.record), f"{wrong}{way_on}")
    recorded, way_on = fold_sweep(events), "remove the file; it is written anew by: "
    way_on += folder.resume()
    if recorded.name and recorded.name != spec.name:
        words = f"is the file of the sweep {spec.name}, and the record beside it that of "
        words += one_line(recorded.name, NAME)
        raise OperationalError(str(folder.spec), f"{words}; {way_on}")
    if changed := _other_model(folder, spec, recorded.spec):
        raise OperationalError(str(folder.spec), f"{changed}; {way_on}")


def _other_model(folder: SweepFolder, spec: Spec, recorded: str) -> str | None:
    """How the model of a sweep file is another than the record's, as after an edit by hand; None
    where it is not, or where an older raysel wrote what this one does not take."""
    with suppress(UserError, OSError, UnicodeDecodeError):
        own = read_regular(folder.spec, MOST_BYTES).decode("utf-8")
        if not recorded or _block(own, "model") == _block(recorded, "model"):
            return None  # the rule: nothing is parsed
        model = reader.parse_resolved(recorded).model
        if model != spec.model:
            then, now = (one_line(str(m.name), NAME) for m in (model, spec.model))
            if then == now:
                return "has another model section than the sweep was run with"
            return f"has the model {now}, and the sweep was run with {then}"
    return None


def _block(text: str, key: str) -> str:
    """A key of the top level with all below it, as it stands in a YAML text."""
    _, _, after = f"\n{text}".partition(f"\n{key}:\n")
    lines = after.splitlines()
    end = next((i for i, line in enumerate(lines) if line[:1].strip()), len(lines))
    return "\n".join(lines[:end])


def others(folder: SweepFolder, events: list[Event], name: str | None = None) -> str | None:
    """Whose record it is, as a message; None if it is that of the folder's sweep.

    Args:
        name: of the folder's sweep; compared where an id is not known.
    """
    there, wanted = fold_sweep(events), known_id(folder)
    if there.id and wanted:
        # a copy that is being given an id of its own has the other one until that is done
        is_own = there.id in (wanted, kept(folder.manifest).get(COPY_OF))
    else:
        is_own = not there.name or name is None or there.name == name
    if is_own:
        return None
    own = one_line(wanted or name or "", NAME)
    whose = one_line(there.id or there.name, NAME)
    return f"is the record of the sweep {whose}, and this is the folder of {own}"


def known_id(folder: SweepFolder) -> str | None:
    """The id of a folder's sweep, from its files beside the record; None where no
    driver has written one."""
    found = kept(folder.manifest).get(ID) or kept(folder.results).get(ID)
    return str(found) if found else None


# --- the sweep file ------------------------------------------------------------------------------


def own_spec(folder: SweepFolder) -> Spec:
    """The sweep file of a folder.

    Raises:
        UserError: it is there and is not valid.
        OperationalError: it is gone or empty, or this user may not read it.
    """
    if why := _lost_spec(folder):
        found = _found(folder)
        if found is None:
            words = f"{why}, and neither {folder.record.name} nor {folder.backup.name} has it"
            way_on = f"begin it with raysel run FILE, or: {folder.command('rm')}"
            raise OperationalError(str(folder.spec), f"{words}; {way_on}")
        words = f"{why}; it is written anew from {found[1].name} by: {folder.resume()}"
        raise OperationalError(str(folder.spec), words)
    try:
        return reader.load_resolved(folder.spec)
    except UserError as error:
        if (found := _found(folder)) is None:
            raise
        words = f"raysel wrote it, and {found[1].name} has it whole: remove it, then"
        *others, last = error.problems
        last = replace(last, message=f"{last.message}; {words} {folder.resume()} writes it anew")
        raise UserError(*others, last) from None


def lost_spec(folder: SweepFolder) -> str | None:
    """The text of a sweep file that is gone or empty, from the record or its last copy; None where
    it is there, or where nothing has it.

    Raises:
        OperationalError: this user may not read it.
    """
    found = _found(folder) if _lost_spec(folder) else None
    return None if found is None else found[0]


def is_half_made(folder: SweepFolder) -> bool:
    """Whether its driver was killed before it had written the sweep file: no event is recorded,
    and no trial can have begun."""
    try:
        absent = _lost_spec(folder) == "is not there"
    except OperationalError:  # its reader reports why
        return False
    return absent and not folder.trials.exists() and _found(folder) is None


def _lost_spec(folder: SweepFolder) -> str | None:
    try:
        return None if read_regular(folder.spec, MOST_BYTES).strip() else "is empty"
    except FileNotFoundError:
        return "is not there"
    except IsADirectoryError:
        return "is a folder"
    except OSError as error:
        if is_denied(error):
            words = cannot("be read", error, folder.spec)
            raise OperationalError(str(folder.spec), words) from None
        return None  # its reader reports why


def _found(folder: SweepFolder) -> tuple[str, Path] | None:
    for record in (folder.record, folder.backup):
        try:
            text = fold_sweep(read_events(sqlite_url(record))).spec
        except OperationalError:
            continue
        if text:
            return text, record
    return None


# --- results.json --------------------------------------------------------------------------------


def own_results(folder: SweepFolder, sweep: SweepState) -> SweepResults:
    """The results of a sweep, complete or not.

    Raises:
        OperationalError: there are none yet, they cannot be read, or they are another sweep's.
    """
    file, again = folder.results, f"write it anew with: {folder.resume()}"
    try:
        text = read_regular(file, _MOST_RESULTS).decode("utf-8")
        content = json.loads(text) if text.strip() else None
    except FileNotFoundError:
        if sweep.status == COMPLETE:
            raise OperationalError(str(file), f"is not there; {again}") from None
        go_on = f"go on with: {folder.resume()}"
        raise OperationalError(folder.name, f"has no results yet; {go_on}") from None
    except OSError as error:
        if error.errno in (
            errno.EINVAL,
            errno.EISDIR,
            errno.EFBIG,
            errno.ELOOP,
        ):  # no file of raysel's
            raise OperationalError(str(file), f"cannot be read: {reason(error)}; {again}") from None
        raise OperationalError(str(file), cannot("be read", error, file)) from None
    except Exception as error:  # whatever a damaged file makes its reader raise
        raise OperationalError(str(file), f"cannot be read: {reason(error)}; {again}") from None
    if not isinstance(content, dict):
        words = "is empty" if content is None else "holds no keys"
        raise OperationalError(str(file), f"{words}; {again}")
    try:
        results = SweepResults.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = one_line(".".join(map(str, first["loc"])), NAME)
        why = f"it lacks {key}" if first["type"] == "missing" else f"{key}: {first['msg']}"
        raise OperationalError(str(file), f"cannot be read: {why}; {again}") from None
    if (whose := results.sweep_id) and sweep.id and whose != sweep.id:
        there, own = (one_line(name, NAME) for name in (whose, sweep.id))
        words = f"is of the sweep {there}, and this is the folder of {own}; {again}"
        raise OperationalError(str(file), words)
    if results.split and sweep.split and results.split != sweep.split:
        words = "is of other examples than the record says the sweep was run with"
        raise OperationalError(str(file), f"{words}; {again}")
    return results


# --- the best model ------------------------------------------------------------------------------


def best_problem(folder: SweepFolder, sweep: SweepState) -> str | None:
    """What is wrong with the best model of a complete sweep, as far as it is seen without reading
    its weights: it is lost, or another sweep's; None where nothing is. `raysel export` reads them.
    """
    if not os.path.lexists(folder.best):
        return "is not there"
    try:
        if not (folder.best / "model.safetensors").stat().st_size:
            return "has no weights: model.safetensors is empty"
        whose = json.loads(read_regular(folder.best / "config.json", MIB))["raysel"]["sweep"]
    except (FileNotFoundError, NotADirectoryError) as error:
        return f"has no model: {Path(error.filename or folder.best).name} is not there"
    except OSError as error:
        return cannot("be read", error, folder.best)
    except (ValueError, KeyError, TypeError) as error:
        return f"has no model: config.json cannot be read ({reason(error)})"
    if sweep.id and whose != sweep.id:
        return f"is the model of the sweep {one_line(whose, NAME)}"
    return None
