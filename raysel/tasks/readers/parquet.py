"""Parquet files with the bytes of a picture and its class in each row: the form in which the
Hugging Face hub keeps data sets. Pictures are read a row group at a time, where they lie.

Which column is what is said by the schema (Hugging Face's features), by the types and by the usual
names; classes have the names that the schema gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raysel.common.errors import user_error
from raysel.common.user_files import any_error_as
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_files import subfolders
from raysel.tasks.readers.byte_columns import (
    NONE_ASKED,
    AskedColumns,
    Cells,
    byte_columns,
    features_of,
)
from raysel.tasks.readers.file_patterns import pools_of_files
from raysel.tasks.readers.labelled import labelled
from raysel.tasks.splits import Pool
from raysel.tasks.stored_images import ParquetRow

ENDING = ".parquet"


def parquet(
    files: Sequence[Path],
    name: str,
    asked: AskedColumns = NONE_ASKED,
    classes: Sequence[str] | None = None,
) -> ImageDataset:
    """Read the labels of Parquet files; no picture is decoded.

    Args:
        files: of one data set; parts by the first words of their names.
        name: of the data set.
        asked: columns that are named; the others are found by the schema and by their names.
        classes: names of the classes, in the order of their numbers; those of the schema, else
            those that occur, if nothing is given.

    Raises:
        UserError: a file cannot be read, has no column of pictures or of labels, a label is not
            one class, or a group is empty (path `task.data`).
    """
    sources: list[ParquetRow] = []
    pools: list[Pool] = []
    parts = pools_of_files(files)
    cells: Cells | None = None
    for index, file in enumerate(files):
        found, rows = _read(file, asked)
        if cells is None:
            cells = found
        elif found.columns != cells.columns:
            message = f"{file} has other columns or classes than {files[0]}"
            raise user_error("task.data", f"{message}; give the files of one data set")
        else:
            cells.extend(found)
        sources += rows
        pools += [parts[index]] * len(rows) if parts else []
    assert cells is not None
    where = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more files"
    columns = cells.columns
    names = classes or columns.classes
    return labelled(
        *(name, where, sources, cells.labels, names, pools or None, (columns.note,)),
        groups=cells.groups(),
    )


def files_in(folder: Path) -> list[Path]:
    """The Parquet files of a folder, or of its folder `data`, where it holds no other folder."""
    found = sorted(folder.glob(f"*{ENDING}")) or sorted(folder.glob(f"data/*{ENDING}"))
    try:
        others = [path for path in subfolders(folder) if path.name != "data"] if found else []
    except OSError:  # said by the reader of class folders
        return []
    return [] if others else found


def _read(file: Path, asked: AskedColumns) -> tuple[Cells, list[ParquetRow]]:
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow)

    refused = any_error_as(lambda why: user_error("task.data", f"{file} cannot be read: {why}"))
    with refused, pq.ParquetFile(file) as opened:
        schema = opened.schema_arrow
        columns = byte_columns(str(file), schema, features_of(schema), asked)
        cells = Cells(columns)
        rows: list[ParquetRow] = []
        for group in range(opened.num_row_groups):
            table = opened.read_row_group(group, columns=columns.read)
            cells.add(str(file), table.to_pydict())
            for row in range(table.num_rows):
                rows.append(ParquetRow(file, f"{len(rows)}", group, row, columns.image))
    return cells, rows
