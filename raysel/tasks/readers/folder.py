"""Image folders: `root/<class>/*.jpg`, or the same below `train`, `val` and `test`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from raysel.common.errors import user_error
from raysel.common.text import quoted
from raysel.spec.data_choice import Nested
from raysel.tasks.class_names import check_count, check_names, listed, normalised
from raysel.tasks.folder_hints import (
    no_picture,
    one_class_hint,
    refuse_masks,
    refuse_nested,
    what_lies_in,
)
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_files import (
    BESIDE,
    LeftOutFiles,
    count_all_below,
    images_below,
    images_in,
    reason_to_leave_out,
    reason_to_skip_folder,
    subfolders,
)
from raysel.tasks.splits import POOL_OF_FOLDER, Pool


def image_folder(root: Path, name: str | None = None, nested: Nested | None = None) -> ImageDataset:
    """Read the names of a folder of pictures; none is decoded.

    The root is one of split folders where it holds `train` (or `training`) and all else in
    it is a split folder too. Classes and files are taken in the order of their names; links
    are followed.

    Args:
        root: the folder.
        name: of the data set; the folder's name, if nothing is given.
        nested: what folders within class folders are: `merge`, pictures of the class above, or
            `classes`, a class each ("animals/cat"). If nothing is given, several in one class
            are refused.

    Raises:
        UserError: split folders without `train` or beside others, fewer than two classes, a class
            without a picture, a class in `val` or `test` that `train` lacks, two classes whose
            names look the same, several folders within a class, or a folder that may not be read.
    """
    try:
        return _read(root, name or root.resolve().name, nested)
    except OSError as error:
        message = f"{error.filename or root} cannot be read: {error.strerror}"
        raise user_error("task.data", message) from None


def _read(root: Path, name: str, nested: Nested | None) -> ImageDataset:
    parts = _parts(root)
    left_out = LeftOutFiles(root)
    notes: list[str] = []
    files = {folder: _by_class(folder, nested, left_out, notes) for _, folder in parts}
    train = parts[0][1]
    classes = sorted(files[train])
    if not classes:
        hint = "expected a folder a class, with pictures in each"
        raise user_error("task.data", f"{train} holds no class; {hint}{what_lies_in(train)}")
    check_names(classes)
    if len(classes) == 1:
        check_count(str(train), classes, one_class_hint(root, train, subfolders(train)[0]))
    refuse_masks(train, classes)
    _check_classes(files, classes)
    _leave_out_beside({root, *files}, left_out)
    rows = [
        (path, label, pool)
        for pool, folder in parts
        for label, class_name in enumerate(classes)
        for path in files[folder].get(class_name, ())
    ]
    return ImageDataset(
        name=name,
        classes=tuple(classes),
        labels=np.array([label for _, label, _ in rows], np.int64),
        sources=[path for path, _, _ in rows],
        official_splits=np.array([pool for _, _, pool in rows]) if len(parts) > 1 else None,
        notes=(*notes, *_broken(left_out.broken_links)),
        left_out=left_out.by_reason(),
    )


def _broken(links: Sequence[Path]) -> tuple[str, ...]:
    """That links lead nowhere: no picture is opened yet, and they would be counted as sound."""
    if not links:
        return ()
    what = "link leads" if len(links) == 1 else "links lead"
    return (f"{len(links):,} {what} nowhere, such as {links[0]}: pictures that cannot be read",)


def _by_class(
    part: Path, nested: Nested | None, left_out: LeftOutFiles, notes: list[str]
) -> dict[str, list[Path]]:
    """The pictures of each class of a part, by its name in Unicode's composed form."""
    found: dict[str, list[Path]] = {}
    came_from: dict[str, Path] = {}
    folders = subfolders(part)
    for folder in folders:
        name = normalised(folder.name)
        other = came_from.setdefault(name, folder)
        if other is not folder:
            forms = f"{quoted(other.name)} and {quoted(folder.name)}"
            words = "one name in two forms (blanks around it, or Unicode)"
            raise user_error("task.data", f"{part} holds {forms}, {words}; merge them")
        here = LeftOutFiles(folder)
        pictures = images_below(folder, here)
        left_out.extend(here)
        if not pictures:
            raise user_error("task.data", f"class folder {folder} {no_picture(here)}")
        if nested == "classes":
            for path in pictures:
                inner = normalised(path.parent.relative_to(part).as_posix())
                found.setdefault(inner, []).append(path)
        else:
            found[name] = pictures
            if nested is None and len(folders) > 1:
                notes += refuse_nested(part, folder, pictures)
    return found


def _check_classes(files: Mapping[Path, Mapping[str, object]], classes: Sequence[str]) -> None:
    for folder, found in files.items():
        unknown = sorted(set(found) - set(classes))
        if unknown:
            message = f"{folder} holds {listed(unknown)}, which the training part does not"
            raise user_error("task.data", message)


def _leave_out_beside(folders: Iterable[Path], left_out: LeftOutFiles) -> None:
    """Leave out what is in the root and in the part folders, and in no class."""
    for folder in sorted(folders):
        for path in sorted(folder.iterdir()):
            skipped = path.is_dir() and reason_to_skip_folder(path.name)
            if skipped:
                count_all_below(path, skipped, left_out)
            elif path.is_file():
                left_out.add(reason_to_leave_out(path) or BESIDE, path)


def _parts(root: Path) -> list[tuple[Pool, Path]]:
    """The split folders, `train` first; the root itself where it has none."""
    folders = subfolders(root)
    named = [(POOL_OF_FOLDER.get(folder.name.lower()), folder) for folder in folders]
    parts = [(pool, folder) for pool, folder in named if pool is not None]
    official_splits = [pool for pool, _ in parts]
    if len(parts) < len(folders) or "train" not in official_splits:
        _refuse_half(root, parts, [folder.name for pool, folder in named if pool is None])
        return [("train", root)]
    if len(set(official_splits)) < len(official_splits):
        message = listed([folder.name for _, folder in parts])
        raise user_error("task.data", f"{root}: {message} name one part twice")
    return sorted(parts, key=lambda part: part[0] != "train")


def _refuse_half(root: Path, parts: Sequence[tuple[Pool, Path]], others: Sequence[str]) -> None:
    """Classes may be called as parts are; but a folder of folders that is called so is a part,
    and would be a class of all its classes' pictures."""
    folders = [folder for _, folder in parts]
    if not any(subfolders(path) and not images_in([path], LeftOutFiles(path)) for path in folders):
        return
    named = listed([folder.name for _, folder in parts])
    message = f"{root} holds the parts {named} and no train"
    if others:
        message = (
            f"{root} holds {listed(others)} beside {named}: a part, or a class? Move it elsewhere,"
            " or name it train, val or test"
        )
    raise user_error("task.data", message)
