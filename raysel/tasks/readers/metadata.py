"""Folders in the form of Hugging Face's `imagefolder`: pictures beside a `metadata.csv` or
`metadata.jsonl`, whose column `file_name` names them, for the whole folder or in each of `train`,
`validation` and `test`.

Such a table gives the labels where there are no class folders. Where there are, these do, and the
table is none of the data set's business (its other columns are captions, boxes and the like), but
for columns of groups that the sweep file names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from raysel.common.errors import user_error
from raysel.common.text import and_more
from raysel.tasks.class_names import listed
from raysel.tasks.groups import groups_of
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_files import LeftOutFiles, images_below, subfolders
from raysel.tasks.readers.table import (
    Part,
    TableOptions,
    group_cells,
    picture_table,
    picture_tables,
)
from raysel.tasks.splits import POOL_OF_FOLDER

NAMES = ("metadata.csv", "metadata.jsonl")


def metadata_folder(root: Path, group_columns: Sequence[str] | None = None) -> ImageDataset | None:
    """Read such a folder; None where it is none, or has class folders. No picture is decoded.

    Args:
        group_columns: those of the table that make the groups.

    Raises:
        UserError: parts without a table beside one with it, two tables of one folder, or as
            `picture_table`.
    """
    try:
        folders = subfolders(root)
        own = _table(root)
        named = [path for path in folders if path.name.lower() in POOL_OF_FOLDER]
        parts = [Part(table, path, POOL_OF_FOLDER[path.name.lower()]) for path, table in _in(named)]
        if not (own or parts) or any(map(_has_classes, named or [root])):
            return None
    except OSError:  # said by the reader of class folders
        return None
    options = TableOptions(group_columns=group_columns)
    if own is not None:
        return _noted(_parts_by_path(picture_table(own, root, options), root), [own], root)
    if without := [path.name for path in named if _table(path) is None]:
        has = listed([part.root.name for part in parts])
        message = f"{root}: {has} has a {parts[0].table.name}, {listed(without)} has none"
        raise user_error("task.data", f"{message}; write one, or give a table: {{csv: PATH}}")
    ordered = sorted(parts, key=lambda part: part.pool != "train")
    tables = [part.table for part in ordered]
    return _noted(picture_tables(ordered, root.resolve().name, options), tables, root)


CLASS = "label"
"""Stands for the class among the columns of groups, where the table has no column of that name."""


def with_groups(data: ImageDataset, root: Path, columns: Sequence[str]) -> ImageDataset:
    """Class folders with the groups that a table beside them gives each picture.

    Args:
        data: of class folders below `root`.
        columns: of `metadata.csv` or `metadata.jsonl`, in the folder or in each of its parts.

    Raises:
        UserError: there is no such table, it lacks a column or a row of a picture, or a cell is
            empty.
    """
    tables = [table for folder in (root, *subfolders(root)) if (table := _table(folder))]
    if not tables:
        where = f"{root} holds no {' or '.join(NAMES)}"
        raise user_error("task.data.group_column", f"{where}, which has the columns of groups")
    known: dict[Path, dict[str, str]] = {}
    for table in tables:
        known |= group_cells(table, table.parent, columns, CLASS)
    values: dict[str, list[str]] = {column: [] for column in columns}
    for path, label in zip(map(Path, map(str, data.sources)), data.labels, strict=True):
        if path not in known:
            named = and_more([str(table.relative_to(root)) for table in tables])
            message = f"{named} in {root} has no row of {path.relative_to(root)}"
            raise user_error("task.data.group_column", f"{message}, and so no group of it")
        row = {CLASS: data.classes[label], **known[path]}
        for column in columns:
            values[column].append(row[column])
    return replace(data, groups=groups_of(values))


def _in(folders: list[Path]) -> list[tuple[Path, Path]]:
    return [(path, table) for path in folders if (table := _table(path)) is not None]


def _table(folder: Path) -> Path | None:
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise user_error("task.data", f"{folder} holds {' and '.join(NAMES)}; remove one of them")
    return found[0] if found else None


def _has_classes(part: Path) -> bool:
    """Whether several folders in it hold pictures, which then are its classes."""
    inner = [path for path in subfolders(part) if path.name.lower() not in POOL_OF_FOLDER]
    return sum(bool(images_below(path, LeftOutFiles(path))) for path in inner) > 1


def _parts_by_path(data: ImageDataset, root: Path) -> ImageDataset:
    """With the parts that the files' folders are, where each lies in one of `train` and others."""
    if data.official_splits is not None or isinstance(data.sources, np.ndarray):
        return data
    first = [
        path.relative_to(root).parts[0].lower() if path.is_relative_to(root) else ""
        for path in map(Path, map(str, data.sources))
    ]
    pools = [POOL_OF_FOLDER.get(name) for name in first]
    if None in pools or "train" not in pools or len(set(pools)) == 1:
        return data
    return replace(data, official_splits=np.array(pools))


def _noted(data: ImageDataset, tables: list[Path], root: Path) -> ImageDataset:
    named = and_more([str(table.relative_to(root)) for table in tables])
    note = f"labels are those of {named} (Hugging Face's form of a folder)"
    return replace(data, name=root.resolve().name, notes=(note, *data.notes))
