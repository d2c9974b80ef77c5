"""Image folders: `root/<class>/*.jpg`, or the same below `train`, `val` and `test`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
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
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}
"""Folders that are parts and not classes, in lower case."""

_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})


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
        notes=_notes(root, others, _loose({root, *(folder for _, folder in parts)})),
    )


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
    if not any(_folders(folder) and not _loose([folder]) for _, folder in parts):
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
    files: list[Path] = []
    seen = set(map(str, Path(os.path.realpath(folder)).parents))
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        seen.add(os.path.realpath(parent))
        files += [Path(parent) / name for name in names if not _is_clutter(name)]
        # a link may lead to a folder that was walked, or to one around the class
        below = {os.path.realpath(Path(parent) / name): name for name in sorted(folders)}
        folders[:] = [name for place, name in below.items() if place not in seen]
    files.sort()
    found = [path for path in files if _is_picture(path)]
    return found, [path for path in files if not _is_picture(path)]


def _loose(folders: Iterable[Path]) -> list[Path]:
    """The pictures that lie in the folders themselves."""
    there = (path for folder in folders for path in folder.iterdir())
    return sorted(p for p in there if _is_picture(p) and not _is_clutter(p.name) and p.is_file())


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _refuse(error: OSError) -> None:
    """A folder that may not be read is none without pictures."""
    raise error


def _notes(root: Path, others: Sequence[Path], loose: Sequence[Path]) -> tuple[str, ...]:
    """What is left out is named: a file may be a picture under another ending."""

    def told(paths: Sequence[Path], one: str, many: str) -> str:
        shown = listed([str(path.relative_to(root)) for path in paths])
        return f"{len(paths)} {one if len(paths) == 1 else many} left out: {shown}"

    ending, beside = "no image by the ending", "beside the classes"
    notes = [
        (others, f"file is {ending} and", f"files are {ending} and"),
        (loose, f"picture lies {beside} and is", f"pictures lie {beside} and are"),
    ]
    return tuple(told(*note) for note in notes if note[0])
