"""Which files of a folder are images by their name, and why the others are left out.

Only names are read here. A file that is taken and cannot be decoded is counted elsewhere
(`picture_task`).
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from raysel.tasks.file_kinds import NEEDS_MORE, remedy
from raysel.tasks.image_dataset import LeftOut
from raysel.tasks.image_io import image_endings

HIDDEN = "hidden (the name begins with a dot)"
SYSTEM = "made by a system or a program, such as thumbnails"
ENDING = "no image by the ending"
NO_ENDING = "without an ending"
BESIDE = "beside the class folders"
NOT_REGULAR = "no regular file (a named pipe, a socket, a device)"
LINKED_TWICE = "a link to a folder that is looked through already"
UNLISTED = "in no row of the table"
"""Reasons, as a person reads them after the count."""

_SYSTEM_FOLDERS = frozenset(
    [
        *("@eadir", "#recycle", "#snapshot", "@__thumb", "@recycle", "@recently-snapshot"),
        *("__macosx", "__pycache__", "$recycle.bin", "system volume information", "lost+found"),
        *("@syno", "eadir"),
    ]
)
_SYSTEM_FILES = frozenset(["thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini"])
_EXAMPLES = 3


class LeftOutFiles:
    """Collects the files that are not taken, by reason.

    Attributes:
        broken_links: links that lead nowhere, which are taken: pictures that cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.broken_links: list[Path] = []
        self._paths: dict[str, list[Path]] = {}

    def add(self, reason: str, path: Path) -> None:
        """Count a file."""
        self._paths.setdefault(reason, []).append(path)

    def extend(self, other: LeftOutFiles) -> None:
        """Count what another has collected below this one's root."""
        self.broken_links += other.broken_links
        for reason, paths in other._paths.items():
            for path in paths:
                self.add(reason, path)

    def endings(self) -> Counter[str]:
        """How many files of each ending, in lower case, hidden and a system's files apart."""
        shown = (r for r in self._paths if r not in (HIDDEN, SYSTEM))
        return Counter(path.suffix.lower() for reason in shown for path in self._paths[reason])

    def by_reason(self) -> tuple[LeftOut, ...]:
        """One entry a reason, the most frequent first."""
        reasons = sorted(self._paths, key=lambda reason: (-len(self._paths[reason]), reason))
        return tuple(
            LeftOut(reason, len(self._paths[reason]), self._examples(reason)) for reason in reasons
        )

    def _examples(self, reason: str) -> tuple[str, ...]:
        shown = self._paths[reason][:_EXAMPLES]
        return tuple(
            str(path.relative_to(self._root) if path.is_relative_to(self._root) else path)
            for path in shown
        )


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its ending."""
    name = name.rpartition("/")[2]
    dot = name.rfind(".")  # `Path.suffix` in a third of the time: it is asked of every file
    return dot > 0 and name[dot:].lower() in image_endings()


def reason_to_leave_out(path: Path) -> str | None:
    """Why a file is not taken; None if it is an image by its name."""
    name = path.name
    if name.lower() in _SYSTEM_FILES:
        return SYSTEM
    if name.startswith("."):
        return HIDDEN
    if is_image_name(name):
        return None
    if not path.suffix:
        return NO_ENDING
    ending = path.suffix.lower()
    what = f"; {remedy([ending])}" if ending in NEEDS_MORE else ""
    return f"{ENDING} ({ending}){what}"


def reason_to_skip_folder(name: str) -> str | None:
    """Why nothing below a folder is taken; None if it is looked through."""
    if name.lower() in _SYSTEM_FOLDERS:
        return SYSTEM
    return HIDDEN if name.startswith(".") else None


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are looked through, by their names.

    Raises:
        OSError: it may not be read, or holds a link to nowhere that may have been a folder: a class
            or a part would be missing without a word.
    """
    entries = [Path(entry.path) for entry in os.scandir(folder) if _may_be_folder(entry)]
    below = [path for path in entries if reason_to_skip_folder(path.name) is None]
    for path in below:
        if not path.is_dir():
            words = f"it is a link to {path.readlink()}, which is not there; bring that back"
            raise FileNotFoundError(errno.ENOENT, f"{words}, or remove the link", str(path))
    return sorted(below)


def _may_be_folder(entry: os.DirEntry[str]) -> bool:
    """A folder, or a link to nowhere without an ending."""
    if entry.is_dir():
        return True
    return entry.is_symlink() and not Path(entry.name).suffix and not Path(entry.path).exists()


def images_below(folder: Path, left_out: LeftOutFiles) -> list[Path]:
    """The images in and below a folder, by their names and in the order of their paths.

    Links are followed, and no folder is walked twice.

    Raises:
        OSError: a folder may not be read.
    """
    found: list[Path] = []
    walked = set(map(str, Path(os.path.realpath(folder)).parents))
    waiting = [folder]
    while waiting:
        parent = waiting.pop()
        place = os.path.realpath(parent)
        # a link may lead to a folder that was walked, or to one around the class
        if place in walked:
            left_out.add(LINKED_TWICE, parent)
            continue
        walked.add(place)
        for entry in sorted(os.scandir(parent), key=lambda entry: entry.name):
            path = Path(entry.path)
            if not entry.is_dir():
                _take(entry, found, left_out)
            elif reason := reason_to_skip_folder(entry.name):
                count_all_below(path, reason, left_out)
            else:
                waiting.append(path)
    return sorted(found)


def images_in(folders: Iterable[Path], left_out: LeftOutFiles) -> list[Path]:
    """The images that are in the folders themselves, not below them."""
    found: list[Path] = []
    for folder in folders:
        for entry in os.scandir(folder):
            if not entry.is_dir():
                _take(entry, found, left_out)
    return sorted(found)


def count_all_below(folder: Path, reason: str, left_out: LeftOutFiles) -> None:
    """Leave out every file in and below a folder, by one reason; links are not followed."""
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            left_out.add(reason, Path(parent) / name)


def _take(entry: os.DirEntry[str], found: list[Path], left_out: LeftOutFiles) -> None:
    path = Path(entry.path)
    reason = reason_to_leave_out(path)
    if reason is None and not entry.is_file():
        if entry.is_symlink() and not path.exists():
            left_out.broken_links.append(path)
        else:
            reason = NOT_REGULAR
    if reason is None:
        found.append(path)
    else:
        left_out.add(reason, path)
