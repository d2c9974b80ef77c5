"""Which files of a folder are images by their name, and why the others are left out.

Only names are read here. A file that is taken and cannot be decoded is counted elsewhere
(`picture_task`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from raysel.tasks.pictures import LeftOut
from raysel.tasks.reading import image_endings

HIDDEN = "hidden (the name begins with a dot)"
SYSTEM = "made by a system or a program, such as thumbnails"
ENDING = "no image by the ending"
NO_ENDING = "without an ending"
BESIDE = "beside the class folders"
NOT_REGULAR = "no regular file"
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
    """Collects the files that are not taken, by reason."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._count: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, reason: str, path: Path) -> None:
        """Count a file; the first few of a reason are named."""
        self._count[reason] = self._count.get(reason, 0) + 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            below = path.is_relative_to(self._root)
            examples.append(str(path.relative_to(self._root) if below else path))

    def by_reason(self) -> tuple[LeftOut, ...]:
        """One entry a reason, the most frequent first."""
        reasons = sorted(self._count, key=lambda reason: (-self._count[reason], reason))
        return tuple(LeftOut(r, self._count[r], tuple(self._examples[r])) for r in reasons)


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its ending."""
    return Path(name).suffix.lower() in image_endings()


def reason_to_leave_out(path: Path) -> str | None:
    """Why a file is not taken; None if it is an image by its name."""
    name = path.name
    if name.lower() in _SYSTEM_FILES:
        return SYSTEM
    if name.startswith("."):
        return HIDDEN
    if is_image_name(name):
        return None
    return f"{ENDING} ({path.suffix.lower()})" if path.suffix else NO_ENDING


def reason_to_skip_folder(name: str) -> str | None:
    """Why nothing below a folder is taken; None if it is looked through."""
    if name.lower() in _SYSTEM_FOLDERS:
        return SYSTEM
    return HIDDEN if name.startswith(".") else None


def images_below(folder: Path, left_out: LeftOutFiles) -> list[Path]:
    """The images in and below a folder, by their names and in the order of their paths.

    Links are followed, and no folder is walked twice.

    Raises:
        OSError: a folder may not be read.
    """
    if not folder.is_dir():
        return []
    files: list[Path] = []
    seen = set(map(str, Path(os.path.realpath(folder)).parents))
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        seen.add(os.path.realpath(parent))
        files += [Path(parent) / name for name in names]
        for name in folders:
            if reason := reason_to_skip_folder(name):
                count_all_below(Path(parent) / name, reason, left_out)
        # a link may lead to a folder that was walked, or to one around the class
        below = {os.path.realpath(Path(parent) / name): name for name in sorted(folders)}
        folders[:] = [
            name
            for place, name in below.items()
            if place not in seen and reason_to_skip_folder(name) is None
        ]
    return _taken(sorted(files), left_out)


def images_in(folders: Iterable[Path], left_out: LeftOutFiles) -> list[Path]:
    """The images that lie in the folders themselves, not below them."""
    files = sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    return _taken(files, left_out)


def count_all_below(folder: Path, reason: str, left_out: LeftOutFiles) -> None:
    """Leave out every file in and below a folder, by one reason; links are not followed."""
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            left_out.add(reason, Path(parent) / name)


def _taken(files: Iterable[Path], left_out: LeftOutFiles) -> list[Path]:
    taken = []
    for path in files:
        reason = reason_to_leave_out(path)
        if reason is None:
            taken.append(path)
        else:
            left_out.add(reason, path)
    return taken


def _refuse(error: OSError) -> None:
    """A folder that may not be read is none without images."""
    raise error
