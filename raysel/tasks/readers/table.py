"""A table of pictures: a column of files, one of labels, and one of parts if wanted.

A label is a class's name; where every label is a whole number, it is a class's number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from raysel.common.errors import UserError
from raysel.common.text import quoted
from raysel.tasks.class_names import listed
from raysel.tasks.groups import Groups, groups_of
from raysel.tasks.image_dataset import ImageDataset, LeftOut
from raysel.tasks.image_files import UNLISTED, LeftOutFiles, reason_to_leave_out
from raysel.tasks.labels import Label, Labels, class_labels
from raysel.tasks.splits import POOL_OF_FOLDER, Pool
from raysel.tasks.table_columns import ColumnNames, cells, fits, grouping_cells, has_files
from raysel.tasks.table_files import Files, locate
from raysel.tasks.table_layouts import layout_of
from raysel.tasks.table_text import TableText, read_table, wrong_row


@dataclass(frozen=True)
class TableOptions:
    """What `task.data` says of a table; what is None is found in the table.

    Attributes:
        file_column, label_column: names of columns.
        ending: of the files, where the table leaves it out.
        classes: names of the classes in the order of their numbers; those that occur, in the
            order of their names, if nothing is given.
        group_columns: those whose values, or combinations of values, are the groups.
    """

    file_column: str | None = None
    label_column: str | None = None
    ending: str | None = None
    classes: Sequence[str] | None = None
    group_columns: Sequence[str] | None = None


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
    return picture_tables([Part(path, root)], path.name, options)


class Part(NamedTuple):
    """A table, the folder to which its files are relative, and the part that its rows are."""

    table: Path
    root: Path
    pool: Pool | None = None


def picture_tables(
    parts: Sequence[Part], name: str, options: TableOptions = TableOptions()
) -> ImageDataset:
    """Read the tables of one data set, one after the other; see `picture_table`.

    Args:
        name: of the data set.
    """
    read = [_read(part, options) for part in parts]
    labels = _labels(parts, [one.labels for one in read], options.classes)
    pools = [one.pools for one in read if one.pools is not None]
    return ImageDataset(
        name=name,
        classes=labels.classes,
        labels=labels.numbers,
        sources=[path for one in read for path in one.paths],
        official_splits=np.concatenate(pools) if len(pools) == len(read) else None,
        notes=(*(note for one in read for note in one.notes), *labels.notes),
        left_out=tuple(left for one in read for left in one.left_out),
        groups=_groups([one.groups for one in read]),
    )


def group_cells(
    path: Path, root: Path, columns: Sequence[str], standing_in: str
) -> dict[Path, dict[str, str]]:
    """What a table without labels says of each file's group.

    Args:
        root: the folder to which its files are relative.
        columns: those that make the groups.
        standing_in: a name among `columns` that something else stands for where no column has it.

    Returns:
        file -> column -> value.

    Raises:
        UserError: a column is missing, or a cell is empty.
    """
    table = read_table(path, has_files)
    own = [name for name in columns if name != standing_in or name in table.head]
    found = grouping_cells(table, own)
    files = Files(root)
    rows: dict[Path, dict[str, str]] = {}
    for place, name in enumerate(found.files):
        for file in files.find(name):
            rows[file] = {column: found.groups[column][place] for column in own}
    return rows


def _groups(parts: Sequence[Mapping[str, Sequence[str]] | None]) -> Groups | None:
    """The groups of all tables together; None where one of them has none."""
    known = [columns for columns in parts if columns is not None]
    if not known or len(known) < len(parts) or len({tuple(columns) for columns in known}) > 1:
        return None
    return groups_of({name: [v for own in known for v in own[name]] for name in known[0]})


def _labels(
    parts: Sequence[Part], rows: Sequence[Sequence[Label]], classes: Sequence[str] | None
) -> Labels:
    """The classes of all tables together. What is wrong in one of them alone is said of it."""
    where = str(parts[0].table if len(parts) == 1 else parts[0].root.parent)
    try:
        return class_labels(where, [row for own in rows for row in own], classes)
    except UserError:
        for part, own in zip(parts, rows, strict=True):
            class_labels(str(part.table), own, classes)
        raise


class _Read(NamedTuple):
    labels: list[Label]
    paths: list[Path]
    pools: np.ndarray | None
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    groups: Mapping[str, Sequence[str]] | None


def _read(part: Part, options: TableOptions) -> _Read:
    path, root, pool = part
    wanted = ColumnNames(
        options.file_column, options.label_column, options.classes, options.group_columns
    )
    table = read_table(path, lambda head: layout_of(head) is not None or fits(head, wanted))
    published = layout_of(table.head)
    known: tuple[str, ...] | None = None
    if published is not None and table.rows:
        table, wanted, known = published.read(table, wanted)
    found = cells(table, wanted)
    rows = [Label(row.line, text) for row, text in zip(table.rows, found.labels, strict=True)]
    _refuse_twice(table, found.files, found.labels)
    pools = None if found.splits is None else _pools(table, found.splits)
    if pool is not None:
        pools = np.full(len(rows), pool)
    located = locate(table, found.files, root, options.ending)
    notes = (*(known or found.notes), *located.notes, *_joined(path, found.splits or ()))
    left_out = _unlisted(path, root, located.paths)
    return _Read(rows, located.paths, pools, notes, left_out, found.groups)


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
            message = f"split {quoted(split)} is unknown; there is train, val, test, source"
            raise wrong_row(table.path, row.line, message)
        official_splits.append(pool)
    return np.array(official_splits)


def _joined(table: Path, splits: Sequence[str]) -> Iterator[str]:
    """Where several words of the split column are one part."""
    words: dict[Pool, dict[str, None]] = {}
    for word in splits:
        words.setdefault(POOL_OF_FOLDER[word.lower()], {})[word] = None
    for pool, several in words.items():
        if len({word.lower() for word in several}) > 1:
            what = f"{listed(list(several))} of the split column are one part, {pool}"
            yield f"{table}: {what}; a part for the test is called test"


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
