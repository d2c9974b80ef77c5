"""A table of pictures: `labels.csv` with the columns `file` and `label`, and `split` if wanted.

A label is a class's name; where every label is a whole number, it is a class's number.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from raysel.errors import UserError, nearest, user_error
from raysel.tasks.folders import POOL_OF_FOLDER
from raysel.tasks.image_files import UNLISTED, LeftOutFiles, reason_to_leave_out
from raysel.tasks.pictures import LeftOut, Pictures, check_names

FILE_COLUMNS = ("file", "filename", "path", "image")
LABEL_COLUMNS = ("label", "class")
SPLIT_COLUMN = "split"


class Row(NamedTuple):
    """One row: its line in the file, and what stands there."""

    line: int
    file: str
    label: str
    split: str | None


def picture_table(path: Path, root: Path, classes: Sequence[str] | None = None) -> Pictures:
    """Read a table; no picture is decoded.

    Args:
        path: the CSV file, UTF-8, with a head.
        root: the folder to which its files are relative.
        classes: names of the classes in the order of their numbers; those that occur, in
            the order of their names, if nothing is given.

    Raises:
        UserError: a column is missing, a cell is empty, a label is none of the classes or
            outside their range, a file stands twice, a split is unknown.
    """
    rows = _read(path)
    names, labels = _labels(path, rows, classes)
    pools = None
    if rows[0].split is not None:
        pools = np.array([_pool(path, row) for row in rows])
    seen: dict[str, int] = {}
    for row in rows:
        first = seen.setdefault(row.file, row.line)
        if first != row.line:
            raise _wrong(path, row, f'"{row.file}" stands in line {first} too')
    sources = [root / row.file for row in rows]
    return Pictures(
        name=path.name,
        classes=names,
        labels=labels,
        sources=sources,
        pools=pools,
        left_out=_unlisted(path, root, sources),
    )


def _unlisted(table: Path, root: Path, sources: Sequence[Path]) -> tuple[LeftOut, ...]:
    """The files that lie beside the table's pictures and stand in no row."""
    left_out = LeftOutFiles(root)
    listed = {Path(os.path.normpath(source)) for source in sources}
    for folder in sorted({source.parent for source in listed}):
        with contextlib.suppress(OSError):  # a folder that is missing: its pictures are told later
            for place in sorted(folder.iterdir()):
                if place not in listed and place.is_file() and not place.samefile(table):
                    left_out.add(reason_to_leave_out(place) or UNLISTED, place)
    return left_out.by_reason()


def _read(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            head = [str(name).strip() for name in reader.fieldnames or ()]
            reader.fieldnames = head
            file_column, label_column = (
                _column(path, head, FILE_COLUMNS),
                _column(path, head, LABEL_COLUMNS),
            )
            split_column = SPLIT_COLUMN if SPLIT_COLUMN in head else None
            rows = [
                Row(
                    reader.line_num,
                    (cells.get(file_column) or "").strip(),
                    (cells.get(label_column) or "").strip(),
                    (cells.get(split_column) or "").strip() if split_column else None,
                )
                for cells in reader
            ]
    except UnicodeDecodeError:
        raise user_error("task.data", f"{path} is not text in UTF-8") from None
    except OSError as error:
        raise user_error("task.data", f"{path} cannot be read: {error.strerror}") from None
    except csv.Error as error:
        raise user_error("task.data", f"{path} is no table: {error}") from None
    if not rows:
        raise user_error("task.data", f"{path} has no row below its head")
    for row in rows:
        if not row.file or not row.label:
            raise _wrong(path, row, "the file or the label is empty")
    return rows


def _column(path: Path, head: Sequence[str], accepted: Sequence[str]) -> str:
    found = next((name for name in accepted if name in head), None)
    if found is None:
        message = f'has no column "{accepted[0]}"; its head is {", ".join(head) or "empty"}'
        raise user_error("task.data", f"{path} {message}")
    return found


def _labels(
    path: Path, rows: Sequence[Row], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes, and the labels [n]."""
    by_number = all(_is_whole(row.label) for row in rows)
    if classes is None and not by_number:
        classes = sorted({row.label for row in rows})
    if classes is None:
        highest = max(rows, key=lambda row: int(row.label))
        count = int(highest.label) + 1
        if count > len(rows):  # labels that are ids would make a list of millions of names
            told = f"label {highest.label} makes {count} classes of {len(rows)} rows"
            hint = "give task.data.classes, the labels in the order of their numbers"
            raise _wrong(path, highest, f"{told}, some of them without a picture; {hint}")
        classes = [str(number) for number in range(count)]
    check_names(classes)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = []
    for row in rows:
        number = int(row.label) if by_number and row.label not in numbers else None
        number = numbers.get(row.label, -1) if number is None else number
        if not 0 <= number < len(classes):
            raise _wrong(path, row, _outside(row.label, by_number, classes))
        labels.append(number)
    return tuple(classes), np.array(labels, np.int64)


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,9}", text) is not None


def _outside(label: str, by_number: bool, classes: Sequence[str]) -> str:
    if by_number:
        return f"label {label} is outside 0 .. {len(classes) - 1}"
    return f'label "{label}" is none of the classes; {nearest(label, classes)}'


def _pool(path: Path, row: Row) -> str:
    pool = POOL_OF_FOLDER.get((row.split or "").lower())
    if pool is None:
        message = f'split "{row.split}" is unknown; there is train, val, test'
        raise _wrong(path, row, message)
    return pool


def _wrong(path: Path, row: Row, message: str) -> UserError:
    return user_error("task.data", f"{path} line {row.line}: {message}")
