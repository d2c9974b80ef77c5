"""Image folders: `root/<class>/*.jpg`, or the same below `train`, `val` and `test`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from raysel.errors import user_error
from raysel.tasks.image_files import (
    BESIDE,
    LeftOutFiles,
    count_all_below,
    images_below,
    images_in,
    reason_to_leave_out,
    reason_to_skip_folder,
)
from raysel.tasks.pictures import Pictures, check_names, listed
from raysel.tasks.splits import Pool

POOL_OF_FOLDER: dict[str, Pool] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}
"""Folders that are parts and not classes, in lower case."""


def image_folder(root: Path, name: str | None = None) -> Pictures:
    """Read the names of a folder of pictures; none is decoded.

    The root is one of split folders where it holds `train` (or `training`) and all else in
    it is a split folder too. Classes and files are taken in the order of their names; links
    are followed.

    Args:
        root: the folder.
        name: of the data set; the folder's name, if nothing is given.

    Raises:
        UserError: split folders without `train` or beside others, no class, a class without a
            picture, a class in `val` or `test` that `train` lacks, two classes of one name but
            for upper and lower case, or a folder that may not be read.
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
    left_out = LeftOutFiles(root)
    for pool, folder in parts:
        _check_classes(folder, classes)
        for label, class_name in enumerate(classes):
            found = images_below(folder / class_name, left_out)
            if not found and (folder / class_name).is_dir():
                raise user_error("task.data", f"class folder {folder / class_name} is empty")
            sources += found
            labels += [label] * len(found)
            pools += [pool] * len(found)
    _leave_out_beside({root, *(folder for _, folder in parts)}, left_out)
    return Pictures(
        name=name or root.resolve().name,
        classes=tuple(classes),
        labels=np.array(labels, np.int64),
        sources=sources,
        pools=np.array(pools) if len(parts) > 1 else None,
        left_out=left_out.by_reason(),
    )


def _leave_out_beside(folders: Iterable[Path], left_out: LeftOutFiles) -> None:
    """Leave out what lies in the root and in the part folders, and in no class."""
    for folder in sorted(folders):
        for path in sorted(folder.iterdir()):
            skipped = path.is_dir() and reason_to_skip_folder(path.name)
            if skipped:
                count_all_below(path, skipped, left_out)
            elif path.is_file():
                left_out.add(reason_to_leave_out(path) or BESIDE, path)


def _parts(root: Path) -> list[tuple[Pool, Path]]:
    """The split folders, `train` first; the root itself where it has none."""
    folders = _folders(root)
    named = [(POOL_OF_FOLDER.get(folder.name.lower()), folder) for folder in folders]
    parts = [(pool, folder) for pool, folder in named if pool is not None]
    pools = [pool for pool, _ in parts]
    if len(parts) < len(folders) or "train" not in pools:
        _refuse_half(root, parts, [folder.name for pool, folder in named if pool is None])
        return [("train", root)]
    if len(set(pools)) < len(pools):
        told = listed([folder.name for _, folder in parts])
        raise user_error("task.data", f"{root}: {told} name one part twice")
    return sorted(parts, key=lambda part: part[0] != "train")


def _refuse_half(root: Path, parts: Sequence[tuple[Pool, Path]], others: Sequence[str]) -> None:
    """Classes may be called as parts are; but a folder of folders that is called so is a part,
    and would be a class of all its classes' pictures."""
    folders = [folder for _, folder in parts]
    if not any(_folders(path) and not images_in([path], LeftOutFiles(path)) for path in folders):
        return
    named = listed([folder.name for _, folder in parts])
    told = f"{root} holds the parts {named} and no train"
    if others:
        told = (
            f"{root} holds {listed(others)} beside {named}: a part, or a class? Move it elsewhere,"
            " or name it train, val or test"
        )
    raise user_error("task.data", told)


def _folders(folder: Path) -> list[Path]:
    below = (Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    return sorted(path for path in below if reason_to_skip_folder(path.name) is None)


def _check_classes(folder: Path, classes: Sequence[str]) -> None:
    unknown = [path.name for path in _folders(folder) if path.name not in classes]
    if unknown:
        message = f"{folder} holds {listed(unknown)}, which the training part does not"
        raise user_error("task.data", message)
