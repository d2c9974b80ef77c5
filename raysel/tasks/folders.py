"""Image folders: `root/<class>/*.jpg`, or the same below `train`, `val` and `test`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raysel.errors import user_error
from raysel.tasks.pictures import Pictures, check_names, listed
from raysel.tasks.reading import SUFFIXES
from raysel.tasks.splits import Pool

POOL_OF_FOLDER: dict[str, Pool] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Folders that are parts and not classes, in lower case."""

_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})


def image_folder(root: Path, name: str | None = None) -> Pictures:
    """Read the names of a folder of pictures; none is decoded.

    The root is one of split folders where it holds `train` (or `training`) and all else in
    it is a split folder too. Classes and files are taken in the order of their names.

    Args:
        root: the folder.
        name: of the data set; the folder's name, if nothing is given.

    Raises:
        UserError: there is no class, a class without a picture, a class in `val` or `test`
            that `train` lacks, two classes of one name but for upper and lower case, or a
            folder that may not be read.
    """
    try:
        return _read(root, name)
    except OSError as error:
        told = f"{error.filename or root} cannot be read: {error.strerror}"
        raise user_error("task.data", told) from None


def _read(root: Path, name: str | None) -> Pictures:
    parts = _parts(root)
    classes = [folder.name for folder in _folders(parts[0][1])]
    if not classes:
        hint = "expected a folder a class, with pictures in each"
        raise user_error("task.data", f"{parts[0][1]} holds no class; {hint}")
    check_names(classes)
    sources: list[Path] = []
    labels: list[int] = []
    pools: list[str] = []
    others: list[Path] = []
    for pool, folder in parts:
        _check_classes(folder, classes)
        for label, class_name in enumerate(classes):
            found, strange = _pictures(folder / class_name)
            if not found and (folder / class_name).is_dir():
                raise user_error("task.data", f"class folder {folder / class_name} is empty")
            sources += found
            others += strange
            labels += [label] * len(found)
            pools += [pool] * len(found)
    return Pictures(
        name=name or root.resolve().name,
        classes=tuple(classes),
        labels=np.array(labels, np.int64),
        sources=sources,
        pools=np.array(pools) if len(parts) > 1 else None,
        notes=_notes(root, others),
    )


def _parts(root: Path) -> list[tuple[Pool, Path]]:
    """The split folders, `train` first; the root itself where it has none."""
    folders = _folders(root)
    named = [(POOL_OF_FOLDER.get(folder.name.lower()), folder) for folder in folders]
    parts = [(pool, folder) for pool, folder in named if pool is not None]
    pools = [pool for pool, _ in parts]
    if len(parts) < len(folders) or "train" not in pools:
        return [("train", root)]
    if len(set(pools)) < len(pools):
        told = listed([folder.name for _, folder in parts])
        raise user_error("task.data", f"{root}: {told} name one part twice")
    return sorted(parts, key=lambda part: part[0] != "train")


def _folders(folder: Path) -> list[Path]:
    below = (Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    return sorted(path for path in below if not path.name.startswith("."))


def _check_classes(folder: Path, classes: Sequence[str]) -> None:
    unknown = [path.name for path in _folders(folder) if path.name not in classes]
    if unknown:
        message = f"{folder} holds {listed(unknown)}, which the training part does not"
        raise user_error("task.data", message)


def _pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a class in and below its folder, and what else lies there."""
    if not folder.is_dir():
        return [], []
    files = sorted(
        Path(parent) / file
        for parent, _, names in os.walk(folder, onerror=_refuse)
        for file in names
        if not file.startswith(".") and file.lower() not in _CLUTTER
    )
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    return found, [path for path in files if path.suffix.lower() not in SUFFIXES]


def _refuse(error: OSError) -> None:
    """A folder that may not be read is none without pictures."""
    raise error


def _notes(root: Path, others: Sequence[Path]) -> tuple[str, ...]:
    """A file that is left out is named: it may be a picture under another ending."""
    if not others:
        return ()
    shown = listed([str(path.relative_to(root)) for path in others])
    files = "file is" if len(others) == 1 else "files are"
    return (f"{len(others)} {files} no image by the ending and left out: {shown}",)
