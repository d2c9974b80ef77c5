"""Whether a folder or a table is there, and what to say where it is not."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from raysel.common.text import LINE, quoted
from raysel.common.user_files import irregular
from raysel.tasks.file_kinds import is_table_name, remedy
from raysel.tasks.table_files import as_on_disk

What = Literal["folder", "file"]


def missing_path(path: Path, what: What) -> str | None:
    """Why a path is not the folder, or the file, that is needed; None if it is."""
    try:
        there = as_on_disk(path)
        other = irregular(there)
    except FileNotFoundError:
        return f"there is no {what} {path}{_meant(path, what)}{_from_where(path)}"
    except (OSError, ValueError) as error:  # a folder above that may not be read; a zero byte
        return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
    if what == "folder":
        return None if other == "a folder" else f"{path} is {_no_folder(path, other)}"
    if other == "a folder":
        return f"{path} is a folder, no table; a folder is given as task.data: {{folder: {path}}}"
    return None if other is None else f"{path} is {other}, no regular file"


def is_there(path: Path) -> bool:
    """Whether there is anything of that name, of whatever kind, be it readable or not."""
    try:
        as_on_disk(path).stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _from_where(path: Path) -> str:
    """Where a relative path was looked for: from the working folder, not from the sweep file."""
    whole = path.is_absolute() or str(path)[0] in "~$"
    return "" if whole else f" (looked for in {Path.cwd()})"


def _no_folder(path: Path, other: str | None) -> str:
    if other is not None:
        return f"{other}, no folder"
    if is_table_name(path):
        return f"a file, no folder; a table is given as task.data: {{csv: {path}}}"
    if path.suffix.lower() in (".zip", ".tar", ".parquet", ".npz"):
        return f"a file, no folder; it is read as task.data: {{file: {path}}}"
    todo = remedy([path.suffix])
    return "a file, no folder" + (f" ({todo})" if todo else "")


def _meant(path: Path, what: What) -> str:
    """What may be meant: a name beside it that is nearly the same, of the right kind."""
    if str(path)[0] in "~$":
        return "; ~ and $ are not expanded here; write the whole path"
    try:
        beside = list(path.parent.iterdir())
    except OSError:
        return f", and no folder {path.parent}"
    fitting = [entry.name for entry in beside if entry.is_dir() == (what == "folder")]
    same = [name for name in fitting if name.casefold() == path.name.casefold()]
    close = same or difflib.get_close_matches(path.name, fitting, n=1)
    if close:
        return f"; did you mean {quoted(path.with_name(close[0]), LINE)}?"
    stems = [entry for entry in beside if entry.is_file() and entry.name.split(".")[0] == path.name]
    if what == "folder" and stems:
        todo = remedy([stems[0].suffix])
        return f"; there is a file {quoted(stems[0], LINE)}" + (f" ({todo})" if todo else "")
    return ""
