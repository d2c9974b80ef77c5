"""Data sets that TensorFlow Datasets has prepared (`tfds/NAME`): TFRecord files of messages
`tf.train.Example`, beside `dataset_info.json`, `features.json` and the names of the classes. They
are read here without TensorFlow, and pictures are decoded where they lie.

A record is its length (8 bytes, little-endian), a checksum (4), the message, a checksum (4)
(tensorflow.org/tutorials/load_data/tfrecord).
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from raysel.common.errors import user_error
from raysel.common.text import and_more, quoted
from raysel.common.user_files import any_error_as
from raysel.spec.data_choice import TfdsData
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.readers.byte_columns import (
    NONE_ASKED,
    AskedColumns,
    ByteColumns,
    Cells,
    asked_columns,
    byte_columns,
)
from raysel.tasks.readers.labelled import labelled
from raysel.tasks.readers.published_parts import pools_of_splits
from raysel.tasks.readers.train_example import Span, example
from raysel.tasks.splits import Pool
from raysel.tasks.stored_images import FileSlice

INFO, FEATURES = "dataset_info.json", "features.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_HEAD, _FOOT = 12, 4
"""Bytes before and behind the message of a record."""

_KINDS = {"Image": "Image", "ClassLabel": "ClassLabel"}
"""Hugging Face's names of TensorFlow Datasets' features."""


def is_prepared(folder: Path) -> bool:
    """Whether a folder is a data set that TensorFlow Datasets has prepared."""
    return (folder / INFO).is_file() and (folder / FEATURES).is_file()


def data_folder() -> Path:
    """Where TensorFlow Datasets keeps what it prepares."""
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def missing(data: TfdsData) -> str | None:
    """What is not there, and how to get it; None where the data set has been prepared."""
    found = _prepared(data)
    if len(found) == 1:
        return None
    name, root = data.tfds, data_folder()
    if found:
        names = and_more(sorted(path.relative_to(root).as_posix() for path in found))
        return f"tfds/{name} has several: {names}; write one as NAME/CONFIG:VERSION"
    build = name.partition(":")[0]
    how = f"TensorFlow Datasets prepares it: pip install tensorflow-datasets, tfds build {build}"
    return f"tfds/{name} is not below {root} ($TFDS_DATA_DIR); {how}"


def _prepared(data: TfdsData) -> list[Path]:
    """Its folders: of the newest version, unless one is named; of several configurations each."""
    name, _, version = data.tfds.partition(":")
    below = [path.parent for path in (data_folder() / name).glob(f"**/{INFO}")]
    newest: dict[Path, Path] = {}
    for folder in sorted(filter(is_prepared, below), key=lambda path: _version(path.name)):
        if not version or folder.name == version:
            newest[folder.parent] = folder
    return list(newest.values())


def _version(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name)))


def named(data: TfdsData) -> ImageDataset:
    """A data set by its name; see `prepared`."""
    if (absent := missing(data)) is not None:
        raise user_error("task.data", absent)
    return prepared(_prepared(data)[0], asked_columns(data), data.classes)


class _Info(NamedTuple):
    """What describes a data set: its name, the format of its files, and its splits."""

    name: str
    format: str
    splits: Mapping[str, Mapping[str, Any]]


def prepared(
    folder: Path, asked: AskedColumns = NONE_ASKED, classes: Sequence[str] | None = None
) -> ImageDataset:
    """Read the labels of a prepared data set; no picture is decoded.

    Args:
        folder: NAME/VERSION or NAME/CONFIG/VERSION.
        asked: features that are named; the others are found by their types and names.
        classes: names of the classes, in the order of their numbers; its own, if nothing is given.

    Raises:
        UserError: it is of another file format, damaged or incomplete, has no feature of pictures
            or of classes, or a label is not one class (path `task.data`).
    """
    with any_error_as(lambda why: user_error("task.data", f"{folder} cannot be read: {why}")):
        info, (schema, features) = _info(folder), _schema(folder)
    if info.format != "tfrecord":
        message = f"{folder} holds files of the format {quoted(info.format)}"
        hint = "TFRecord is read: tfds build --file_format tfrecord"
        raise user_error("task.data", f"{message}; {hint}")
    columns = byte_columns(str(folder), schema, features, asked)
    pools, notes = pools_of_splits(str(folder), list(info.splits))
    cells = Cells(columns)
    sources: list[FileSlice] = []
    parts: list[Pool] = []
    for split, pool in pools.items():
        for file, length in _shards(folder, info, split):
            found = [] if length == 0 else _rows(file, columns)
            if len(found) != length:
                message = f"{file} is incomplete: it has {len(found):,} of {length:,} records"
                raise user_error("task.data", message)
            own = Cells(columns)
            own.add(str(file), {name: [row[name] for _, row in found] for name in columns.read})
            cells.extend(own)
            sources += [
                FileSlice(file, f"{number}", place.start, place.size)
                for number, (place, _) in enumerate(found)
            ]
            parts += [pool] * length
    names = classes or columns.classes
    return labelled(
        *(info.name, str(folder), sources, cells.labels, names),
        pools=parts if len(set(parts)) > 1 else None,
        notes=(columns.note, *notes),
        groups=cells.groups(),
    )


def _info(folder: Path) -> _Info:
    found = json.loads((folder / INFO).read_text(encoding="utf-8"))
    splits = {split["name"]: split for split in found.get("splits", ())}
    return _Info(found["name"], found.get("fileFormat", "tfrecord"), splits)


def _schema(folder: Path) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The features as a schema of Arrow's and Hugging Face's description."""
    import pyarrow as pa  # noqa: PLC0415  (slow)

    types = {"Image": pa.binary(), "ClassLabel": pa.int64(), "Text": pa.string()}
    found = json.loads((folder / FEATURES).read_text(encoding="utf-8"))
    described = found["featuresDict"]["features"]
    fields: list[tuple[str, Any]] = []
    features: dict[str, dict[str, Any]] = {}
    for name, one in described.items():
        kind = str(one["pythonClassName"]).rpartition(".")[2]
        is_number = kind in ("Scalar", "Tensor") and "dimensions" not in json.dumps(one)
        fields.append((name, pa.int64() if is_number else types.get(kind, pa.list_(pa.null()))))
        features[name] = {"_type": _KINDS.get(kind, kind)}
        names = folder / f"{name}.labels.txt"
        if kind == "ClassLabel" and names.is_file():
            features[name]["names"] = names.read_text(encoding="utf-8").rstrip("\n").split("\n")
    return pa.schema(fields), features


def _shards(folder: Path, info: _Info, split: str) -> list[tuple[Path, int]]:
    """The files of a split, all of which must be there, and how many records each has."""
    facts = info.splits[split]
    lengths = [int(length) for length in facts.get("shardLengths", ())]
    template = facts.get("filepathTemplate") or _TEMPLATE
    files = []
    for shard in range(len(lengths)):
        place = {"SHARD_INDEX": f"{shard:05d}", "NUM_SHARDS": f"{len(lengths):05d}"}
        place["SHARD_X_OF_Y"] = f"{shard:05d}-of-{len(lengths):05d}"
        names = {"DATASET": info.name, "SPLIT": split, "FILEFORMAT": info.format, **place}
        file = template
        for key, text in names.items():
            file = file.replace(f"{{{key}}}", text)
        files.append(folder / file)
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise user_error("task.data", f"{folder} is incomplete: there is no {absent[0].name}")
    return list(zip(files, lengths, strict=True))


def _rows(file: Path, columns: ByteColumns) -> list[tuple[Span, dict[str, int | str | None]]]:
    """Where the picture of each record is, and the values of the other columns."""
    rows = []
    with (
        any_error_as(lambda why: user_error("task.data", f"{file} cannot be read: {why}")),
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        place = 0
        while place < len(content):
            size = int.from_bytes(content[place : place + 8], "little")
            end = place + _HEAD + size
            if end + _FOOT > len(content):
                raise user_error("task.data", f"{file} is cut off or damaged at byte {place:,}")
            found = example(content, Span(place + _HEAD, size))
            picture = found.get(columns.image)
            values = {name: _value(content, found.get(name)) for name in columns.read}
            rows.append((picture if isinstance(picture, Span) else Span(end, 0), values))
            place = end + _FOOT
    return rows


def _value(content: mmap.mmap, found: Span | int | None) -> int | str | None:
    if not isinstance(found, Span):
        return found
    return content[found.start : found.start + found.size].decode("utf-8", "replace")
