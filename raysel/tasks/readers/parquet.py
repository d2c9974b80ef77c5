"""Parquet files with the bytes of a picture and its class in each row: the form in which the
Hugging Face hub keeps data sets. Pictures are read a row group at a time, where they lie.

Which column is what is said by the schema (Hugging Face's features), by the types and by the usual
names; classes have the names that the schema gives them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysel.common.errors import UserError, nearest, user_error
from raysel.common.text import and_more, quoted
from raysel.common.user_files import any_error_as
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.image_files import subfolders
from raysel.tasks.readers.file_patterns import pools_of_files
from raysel.tasks.readers.labelled import labelled
from raysel.tasks.splits import Pool
from raysel.tasks.stored_images import ParquetRow
from raysel.tasks.table_columns import other_task, usual_file, usual_label

ENDING = ".parquet"


@dataclass(frozen=True)
class _Columns:
    """Those of pictures and labels, and the classes' names where the schema has them."""

    image: str
    label: str
    classes: tuple[str, ...] | None


def parquet(
    files: Sequence[Path],
    name: str,
    image: str | None = None,
    label: str | None = None,
    classes: Sequence[str] | None = None,
) -> ImageDataset:
    """Read the labels of Parquet files; no picture is decoded.

    Args:
        files: of one data set; parts by the first words of their names.
        name: of the data set.
        image, label: columns; found by the schema and by their names, if nothing is given.
        classes: names of the classes, in the order of their numbers; those of the schema, else
            those that occur, if nothing is given.

    Raises:
        UserError: a file cannot be read, has no column of pictures or of labels, or a label is not
            one class (path `task.data`).
    """
    sources: list[ParquetRow] = []
    labels: list[str] = []
    pools: list[Pool] = []
    parts = pools_of_files(files)
    columns: _Columns | None = None
    for index, file in enumerate(files):
        own, found, texts = _read(file, image, label)
        if columns is not None and own != columns:
            message = f"{file} has other columns or classes than {files[0]}"
            raise user_error("task.data", f"{message}; give the files of one data set")
        columns = own
        sources += found
        labels += texts
        pools += [parts[index]] * len(found) if parts else []
    assert columns is not None
    note = f"pictures are in the column {columns.image}, labels in {columns.label}"
    where = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more files"
    names = classes or columns.classes
    return labelled(name, where, sources, labels, names, pools or None, (note,))


def files_in(folder: Path) -> list[Path]:
    """The Parquet files of a folder, or of its folder `data`, where it holds no other folder."""
    found = sorted(folder.glob(f"*{ENDING}")) or sorted(folder.glob(f"data/*{ENDING}"))
    try:
        others = [path for path in subfolders(folder) if path.name != "data"] if found else []
    except OSError:  # said by the reader of class folders
        return []
    return [] if others else found


def _read(
    file: Path, image: str | None, label: str | None
) -> tuple[_Columns, list[ParquetRow], list[str]]:
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow)

    refused = any_error_as(lambda why: user_error("task.data", f"{file} cannot be read: {why}"))
    with refused, pq.ParquetFile(file) as opened:
        schema = opened.schema_arrow
        columns = _columns(file, schema, image, label)
        texts: list[str] = []
        rows: list[ParquetRow] = []
        for group in range(opened.num_row_groups):
            values = opened.read_row_group(group, columns=[columns.label]).column(0).to_pylist()
            for row, value in enumerate(values):
                texts.append(_text(file, len(texts) + 1, value))
                rows.append(ParquetRow(file, f"{len(rows)}", group, row, columns.image))
    return columns, rows, texts


def _columns(file: Path, schema: Any, image: str | None, label: str | None) -> _Columns:
    features = _features(schema)
    pictures = [field.name for field in schema if _holds_pictures(field.type)]
    found = _image_column(file, schema, features, pictures, image)
    rest = [name for name in schema.names if name != found]
    given = _label_column(file, schema.names, rest, features, label)
    if "list" in str(schema.field(given).type):
        message = f"{file}: the column {quoted(given)} holds lists, several labels a picture"
        raise user_error("task.data", f"{message}; raysel does single-label classification")
    names = features.get(given, {}).get("names")
    return _Columns(found, given, tuple(names) if names else None)


def _image_column(
    file: Path,
    schema: Any,
    features: Mapping[str, Mapping[str, Any]],
    pictures: Sequence[str],
    given: str | None,
) -> str:
    if given is not None:
        if given not in schema.names:
            raise _no_column("image_column", file, given, schema.names)
        if given not in pictures:
            message = (
                f"{file}: column {quoted(given)} holds {schema.field(given).type}, no pictures"
            )
            raise user_error("task.data.image_column", message)
        return given
    marked = [name for name in pictures if features.get(name, {}).get("_type") == "Image"]
    usual = usual_file(pictures)
    found = marked if len(marked) == 1 else [usual] if usual else list(pictures)
    if len(found) == 1 and found[0] is not None:
        return found[0]
    if not pictures:
        message = f"{file} has no column of pictures (their bytes, or an object with bytes)"
        raise user_error("task.data", f"{message}; its columns are {and_more(schema.names, 12)}")
    message = f"{file} has several columns of pictures: {and_more(list(pictures))}"
    raise user_error("task.data", f"{message}; write task.data.image_column: {pictures[0]}")


def _label_column(
    file: Path,
    names: Sequence[str],
    rest: Sequence[str],
    features: Mapping[str, Mapping[str, Any]],
    given: str | None,
) -> str:
    if given is not None:
        if given not in rest:
            raise _no_column("label_column", file, given, rest)
        return given
    marked = [name for name in rest if features.get(name, {}).get("_type") == "ClassLabel"]
    usual = usual_label(rest)
    if len(marked) == 1:
        return marked[0]
    if usual is not None:
        return usual
    if marked:
        message = f"{file} has several columns of classes: {and_more(marked)}"
        raise user_error("task.data", f"{message}; write task.data.label_column: {marked[0]}")
    message = f"{file} has no column of labels: {other_task(rest)}"
    raise user_error("task.data", f"{message}; or name it: task.data.label_column")


def _no_column(key: str, file: Path, given: str, names: Sequence[str]) -> UserError:
    message = f"{file} has no column {quoted(given)}; {nearest(given, names)}"
    return user_error(f"task.data.{key}", message)


def _holds_pictures(kind: Any) -> bool:
    import pyarrow.types as types  # noqa: PLC0415  (slow)

    if types.is_struct(kind):
        return any(f.name == "bytes" and types.is_binary(f.type) for f in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Hugging Face's description of the columns; empty in other files."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {str(name): kind for name, kind in info.items() if isinstance(kind, dict)}


def _text(file: Path, row: int, value: Any) -> str:
    if value is None:
        raise user_error("task.data", f"{file} picture {row}: the label is empty")
    return value.strip() if isinstance(value, str) else json.dumps(value, default=str)
