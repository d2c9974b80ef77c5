"""A table of pictures: a column of files, one of labels, and one of parts if wanted.

A label is a class's name; where every label is a whole number, it is a class's number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raysel.common.text import quoted
from raysel.tasks.image_dataset import ImageDataset, LeftOut
from raysel.tasks.image_files import UNLISTED, LeftOutFiles, reason_to_leave_out
from raysel.tasks.labels import Label, class_labels
from raysel.tasks.splits import POOL_OF_FOLDER
from raysel.tasks.table_columns import ColumnNames, cells, fits
from raysel.tasks.table_files import locate
from raysel.tasks.table_text import TableText, read_table, wrong_row


@dataclass(frozen=True)
class TableOptions:
    """What `task.data` says of a table; what is None is found in the table.

    Attributes:
        file_column, label_column: names of columns.
        ending: of the files, where the table leaves it out.
        classes: names of the classes in the order of their numbers; those that occur, in the
            order of their names, if nothing is given.
    """

    file_column: str | None = None
    label_column: str | None = None
    ending: str | None = None
    classes: Sequence[str] | None = None


def picture_table(path: Path, root: Path, options: TableOptions = TableOptions()) -> ImageDataset:
    """Read a table; no picture is decoded.

    Args:
        path: a CSV file (comma, semicolon, tab or bar) or JSON lines, with a head.
        root: the folder to which its files are relative.
        options: columns, ending and classes, where they are not left to the table.

    Raises:
        UserError: a column is missing, a cell is empty, a label is none of the classes or not a
            single one, a file occurs twice, a split is unknown, or no file is there.
    """
    wanted = ColumnNames(options.file_column, options.label_column, options.classes)
    table = read_table(path, lambda head: fits(head, wanted))
    found = cells(table, wanted)
    rows = [Label(row.line, text) for row, text in zip(table.rows, found.labels, strict=True)]
    labels = class_labels(str(path), rows, options.classes)
    _refuse_twice(table, found.files, found.labels)
    official_splits = None if found.splits is None else _pools(table, found.splits)
    located = locate(table, found.files, root, options.ending)
    return ImageDataset(
        name=path.name,
        classes=labels.classes,
        labels=labels.numbers,
        sources=located.paths,
        official_splits=official_splits,
        notes=(*found.notes, *labels.notes, *located.notes),
        left_out=_unlisted(path, root, located.paths),
    )


def _refuse_twice(table: TableText, files: Sequence[str], labels: Sequence[str]) -> None:
    seen: dict[str, tuple[int, str]] = {}
    for row, file, label in zip(table.rows, files, labels, strict=True):
        line, other = seen.setdefault(file, (row.line, label))
        if line == row.line:
            continue
        message = f"{quoted(file)} is in line {line} too"
        if other != label:
            message += f", as {quoted(other)}; raysel does single-label classification"
        raise wrong_row(table.path, row.line, message)


def _pools(table: TableText, splits: Sequence[str]) -> np.ndarray:
    official_splits = []
    for row, split in zip(table.rows, splits, strict=True):
        pool = POOL_OF_FOLDER.get(split.lower())
        if pool is None:
            message = f"split {quoted(split)} is unknown; there is train, val, test"
            raise wrong_row(table.path, row.line, message)
        official_splits.append(pool)
    return np.array(official_splits)


def _unlisted(table: Path, root: Path, sources: Sequence[Path]) -> tuple[LeftOut, ...]:
    """The files that are beside the table's pictures and are in no row."""
    left_out, known = LeftOutFiles(root), set(sources)
    for folder in sorted({source.parent for source in sources}):
        with contextlib.suppress(
            OSError
        ):  # a folder that is missing: its pictures are reported later
            for place in sorted(folder.iterdir()):
                if place not in known and place.is_file() and not place.samefile(table):
                    left_out.add(reason_to_leave_out(place) or UNLISTED, place)
    return left_out.by_reason()
