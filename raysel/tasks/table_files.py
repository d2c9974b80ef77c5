"""From what a table calls a picture to its file on disk."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from raysel.common.errors import user_error
from raysel.common.paths import path_problem
from raysel.common.text import quoted
from raysel.tasks.class_names import listed, normalised
from raysel.tasks.image_files import is_image_name, reason_to_skip_folder
from raysel.tasks.table_text import TableText, wrong_row

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class Files:
    """Finds files below a folder by their names: exactly, in another form of Unicode, with
    backslashes, without an ending. Each folder is listed once."""

    def __init__(self, root: Path, ending: str | None = None) -> None:
        self.root = root
        self._ending = "" if ending is None else f".{ending.lstrip('.')}"
        self._names: dict[str, dict[str, str]] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> list[Path]:
        """The files that may be meant: one, none or several of other endings."""
        if self._ending and not name.lower().endswith(self._ending.lower()):
            name += self._ending
        found = self._below(name)
        return found if found or "\\" not in name else self._below(name.replace("\\", "/"))

    def absent(self, name: str) -> Path:
        """Where a file that is not there would be."""
        missing = name if name.lower().endswith(self._ending.lower()) else name + self._ending
        return self.root / missing

    def _below(self, name: str) -> list[Path]:
        place = PurePath(name)
        folder = os.path.normpath(self.root / place.parent)
        names = self._listed(folder)
        if not names:
            folder = os.path.normpath(as_on_disk(self.root / place.parent))
            names = self._listed(folder)
        last = normalised(place.name)
        if last in names:
            return [Path(folder, names[last])]
        if self._ending:
            return []
        return [Path(folder, name) for name in self._stems[folder].get(last, [])]

    def _listed(self, folder: str) -> dict[str, str]:
        if folder not in self._names:
            there: list[str] = []
            with suppress(OSError):
                there = sorted(entry.name for entry in os.scandir(folder) if not _broken(entry))
            # the exact spelling wins where a folder holds a name in two forms
            self._names[folder] = {normalised(n): n for n in there} | {n: n for n in there}
            stems: dict[str, list[str]] = defaultdict(list)
            for name in there:
                if is_image_name(name):
                    stems[normalised(PurePath(name).stem)].append(name)
            self._stems[folder] = dict(stems)
        return self._names[folder]


def _broken(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link that leads nowhere."""
    return entry.is_symlink() and not Path(entry.path).exists()


def as_on_disk(path: Path) -> Path:
    """The path as the file system spells it: "é" may be one character or two there."""
    if path.exists() or path == path.parent:
        return path
    parent = as_on_disk(path.parent)
    with suppress(OSError):
        wanted = normalised(path.name)
        for entry in os.scandir(parent):
            if normalised(entry.name) == wanted:
                return parent / entry.name
    return parent / path.name


def locate(table: TableText, names: Sequence[str], root: Path, ending: str | None) -> Located:
    """The file of each row.

    Raises:
        UserError: none is there, one occurs twice, or a name fits several files.
    """
    for row, name in zip(table.rows, names, strict=True):
        if name.lower().startswith("file:/"):
            raise wrong_row(table.path, row.line, f"{quoted(name)} {path_problem(name)}")
        if _URL.match(name):
            message = f"{quoted(name)} is a URL; only local files are read"
            raise wrong_row(table.path, row.line, message)
    files = Files(root, ending)
    notes: tuple[str, ...] = ()
    found = [files.find(name) for name in names]
    if not any(found):
        files, notes = _in_one_folder(table, names, root, ending)
        found = [files.find(name) for name in names]
    for row, name, several in zip(table.rows, names, found, strict=True):
        if len(several) > 1:
            endings = listed([path.suffix for path in several])
            message = f"{quoted(name)} has files with the endings {endings}"
            hint = f"write task.data.ending: {several[0].suffix}"
            raise wrong_row(table.path, row.line, f"{message}; {hint}")
    paths = [some[0] if some else files.absent(n) for n, some in zip(names, found, strict=True)]
    return Located(paths, (*notes, *_absent_note(paths, found)))


def _absent_note(paths: Sequence[Path], found: Sequence[Sequence[Path]]) -> tuple[str, ...]:
    """How many of a table's files are not there, where some are."""
    absent = [path for path, some in zip(paths, found, strict=True) if not some]
    if not absent:
        return ()
    verb = "is" if len(absent) == 1 else "are"
    return (f"{len(absent):,} of the table's {len(paths):,} files {verb} not there: {absent[0]}",)


class Located:
    """The file of each row, and notes for a person."""

    def __init__(self, paths: list[Path], notes: tuple[str, ...]) -> None:
        self.paths, self.notes = paths, notes


def _in_one_folder(
    table: TableText, names: Sequence[str], root: Path, ending: str | None
) -> tuple[Files, tuple[str, ...]]:
    """Where none of the files is below the root: the one folder in it that has them all."""
    holding = []
    with suppress(OSError):
        for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
            if entry.is_dir() and reason_to_skip_folder(entry.name) is None:
                files = Files(Path(entry.path), ending)
                if all(files.find(name) for name in names):
                    holding.append(files)
    if len(holding) == 1:
        return holding[0], (f"the files of {table.path.name} are in {holding[0].root}",)
    first = Files(root, ending).absent(names[0])
    message = f"{table.path}: none of its {len(names)} files is there, such as {first}"
    if holding:
        places = listed([str(files.root) for files in holding])
        message += f"; they are in {places}: write task.data.root: {holding[0].root}"
    else:
        message += "; give their folder (task.data.root), their ending (task.data.ending), or the"
        message += " column that names them (task.data.file_column)"
    raise user_error("task.data", message)
