"""The data sets of a sweep file, by name, folder or table: whether one is there, and opening it.

A data set of arrays joins with one function, registered under its name; the function imports what
it needs when it is called, so that a misspelt name is answered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, cast

from raysel.common.errors import Problem, nearest, user_error
from raysel.spec.data_choice import (
    ColouredDigits,
    FileData,
    FolderData,
    FunctionData,
    HubData,
    LibraryData,
    PictureData,
    TableData,
    TfdsData,
)
from raysel.spec.task import TaskSpec
from raysel.tasks.data import Dataset
from raysel.tasks.data_paths import missing_path
from raysel.tasks.decoding import CIFAR_F
from raysel.tasks.file_kinds import remedy
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.readers import archive, arrays, breeds, cifar_c, hub, parquet, tfds
from raysel.tasks.readers.breeds import SUBPOPULATIONS
from raysel.tasks.readers.byte_columns import AskedColumns, asked_columns
from raysel.tasks.readers.file_patterns import files_of, is_pattern
from raysel.tasks.readers.folder import image_folder
from raysel.tasks.readers.function import from_function, why_no_function
from raysel.tasks.readers.metadata import metadata_folder, with_groups
from raysel.tasks.readers.published import PUBLISHED, Published
from raysel.tasks.readers.published_counts import counted_pictures
from raysel.tasks.readers.table import TableOptions, picture_table
from raysel.tasks.shifts import SHIFTS
from raysel.tasks.table_files import as_on_disk

CIFAR_C = "cifar10c"
NAMES = (*PUBLISHED, CIFAR_C, CIFAR_F, *SUBPOPULATIONS)
"""Data sets of pictures that are known by name."""

Opener = Callable[[TaskSpec], Dataset]
"""Opens a data set for a task: labels and shapes at once, images when they are asked for."""

_OPENERS: dict[str, Opener] = {}


def register(name: str) -> Callable[[Opener], Opener]:
    """Make a data set of arrays known under `name`."""

    def enter(opener: Opener) -> Opener:
        _OPENERS[name] = opener
        return opener

    return enter


@register("digits")
def _digits(spec: TaskSpec) -> Dataset:
    return import_module("raysel.tasks.readers.embedded_digits").digits()


@register("digits_edges")
def _digits_edges(spec: TaskSpec) -> Dataset:
    return import_module("raysel.tasks.readers.embedded_digits").digits_edges()


def name_problems(spec: TaskSpec) -> list[Problem]:
    """Names of data sets and shifts that there are not."""
    shifts: Collection[str] = SHIFTS
    if spec.data == CIFAR_C:
        shifts = cifar_c.CORRUPTIONS
    elif spec.data == CIFAR_F:
        shifts = ("none", "label_flip")
    named: list[tuple[str, str, str, Collection[str]]] = [
        ("task.shift.kind", "shift", spec.shift.kind, shifts)
    ]
    if isinstance(spec.data, str):
        named.insert(0, ("task.data", "data set", spec.data, (*_OPENERS, *NAMES)))
    return [
        Problem(path, f'no {what} is called "{given}"; {_meant(path, given, known)}')
        for path, what, given, known in named
        if given not in known
    ]


def _meant(path: str, given: str, known: Collection[str]) -> str:
    """What to write in the place of a name that there is not."""
    if path == "task.data" and Path(given).is_dir():
        return f"a folder of that name is given as task.data: {{folder: {given}}}"
    return nearest(given, known, len(SHIFTS))


def is_pictures(spec: TaskSpec) -> bool:
    """Whether the task's data are pictures, and not embedded arrays."""
    return isinstance(spec.data, PictureData) or spec.data in NAMES


def open_arrays(spec: TaskSpec) -> Dataset:
    """An embedded data set."""
    if isinstance(spec.data, ColouredDigits):
        module = import_module("raysel.tasks.readers.coloured_digits")
        return cast(Dataset, module.coloured_digits(spec.data.coloured_digits))
    return _OPENERS[str(spec.data)](spec)


# --- pictures ------------------------------------------------------------------------------------


class _Source(NamedTuple):
    """One source of pictures: what of it is not there, how it is opened (whether it may be
    downloaded is given), and its number of classes where that is known without the data."""

    missing: Callable[[], str | None]
    open: Callable[[bool], ImageDataset]
    class_count: int | None = None


def _source(spec: TaskSpec) -> _Source:
    data, root, seed, shift = spec.data, Path(spec.root), spec.split.seed, spec.shift
    assert not isinstance(data, ColouredDigits)
    if isinstance(data, FolderData):
        folder = Path(data.folder)
        return _Source(
            lambda: missing_path(folder, "folder"),
            lambda _: _folder(as_on_disk(folder), data),
        )
    if isinstance(data, TableData):
        return _Source(
            lambda: _missing_table(data),
            lambda _: _table(data),
            len(data.classes) if data.classes else None,
        )
    if isinstance(data, FileData):
        count = len(data.classes) if data.classes else None
        return _Source(lambda: _missing_file(data.file), lambda _: _file(data), count)
    if isinstance(data, FunctionData):
        name = data.function
        classes = data.classes
        return _Source(lambda: why_no_function(name), lambda _: from_function(name, classes))
    if isinstance(data, HubData | TfdsData):
        return _stored(data)
    if data == CIFAR_C:
        return _Source(
            lambda: cifar_c.missing(root, shift.kind),
            lambda _: cifar_c.cifar10c(root, shift.kind, shift.severity, seed),
            len(cifar_c.CLASSES),
        )
    if data in SUBPOPULATIONS:
        return _Source(
            lambda: breeds.missing(data, root),
            lambda _: breeds.pictures(data, root),
            len(breeds.superclasses(data)),
        )
    name, known = _published(data)
    return _Source(
        lambda: None if known.expected(root).exists() else known.missing(name, root),
        lambda download: replace(known.open(name, root, download, seed), name=spec.name),
        known.class_count,
    )


def _stored(data: LibraryData) -> _Source:
    """What another library keeps."""
    count = len(data.classes) if data.classes else None
    if isinstance(data, HubData):
        return _Source(
            lambda: hub.missing(data), lambda fetch: hub.hub_pictures(data, fetch), count
        )
    return _Source(lambda: tfds.missing(data), lambda _: tfds.named(data), count)


def _folder(folder: Path, data: FolderData) -> ImageDataset:
    """Folders a class each, or what other libraries write: tables or Parquet in their place, or
    what TensorFlow Datasets has prepared."""
    asked = AskedColumns(groups=data.group_column)
    if tfds.is_prepared(folder):
        return tfds.prepared(folder, asked)
    if files := parquet.files_in(folder):
        return parquet.parquet(files, folder.resolve().name, asked)
    if (found := metadata_folder(folder, data.group_column)) is not None:
        return found
    classes = image_folder(folder, nested=data.nested)
    return with_groups(classes, folder, data.group_column) if data.group_column else classes


def _missing_file(file: str) -> str | None:
    """Why there is no such file; what a pattern names is found when it is opened."""
    if is_pattern(file):
        return None
    why = missing_path(Path(file), "file")
    if why is not None and Path(file).is_dir():
        return f"{file} is a folder; a folder is given as task.data: {{folder: {file}}}"
    return why


def _file(data: FileData) -> ImageDataset:
    """What a file holds, by its ending."""
    files = [as_on_disk(file) for file in files_of(data.file)]
    endings = {file.suffix.lower() for file in files}
    name = Path(data.file).name
    if len(endings) > 1:
        message = f"{data.file} names files of several kinds: {', '.join(sorted(endings))}"
        raise user_error("task.data.file", f"{message}; give files of one kind")
    (ending,) = endings
    if ending == parquet.ENDING:
        return parquet.parquet(files, name, asked_columns(data), data.classes)
    for key in ("image_column", "label_column", "group_column"):
        if getattr(data, key) is not None:
            message = f"{ending or 'this file'} has no columns; leave it out"
            raise user_error(f"task.data.{key}", message)
    if ending in archive.ENDINGS:
        return archive.archives(files, name, data.classes)
    if ending == arrays.ENDING and len(files) == 1:
        return arrays.arrays(files[0], name, data.classes)
    known = ", ".join((*archive.ENDINGS, parquet.ENDING, arrays.ENDING))
    what = remedy([ending])
    message = f"{files[0]} is none of {known}{f' ({what})' if what else ''}"
    raise user_error("task.data.file", message)


def _published(name: str) -> tuple[str, Published]:
    """The published data set of a name: CIFAR-10F is CIFAR-10 with other labels."""
    name = "cifar10" if name == CIFAR_F else name
    return name, PUBLISHED[name]


def _missing_table(data: TableData) -> str | None:
    files = data.root and missing_path(Path(data.root), "folder")
    return missing_path(Path(data.csv), "file") or files or None


def _table(data: TableData) -> ImageDataset:
    table = as_on_disk(Path(data.csv))
    files = table.parent if data.root is None else as_on_disk(Path(data.root))
    options = TableOptions(
        data.file_column, data.label_column, data.ending, data.classes, data.group_column
    )
    return picture_table(table, files, options)


def class_count(spec: TaskSpec) -> int | None:
    """The number of classes where it is known without the data; else None."""
    return _source(spec).class_count


def counted(spec: TaskSpec) -> ImageDataset | None:
    """A data set that is known by name, by its counts alone; None of any other."""
    if not isinstance(spec.data, str):
        return None
    found = counted_pictures("cifar10" if spec.data == CIFAR_F else spec.data)
    return None if found is None else replace(found, name=spec.name)


def download_bytes(spec: TaskSpec) -> int:
    """The size of a published data set that raysel downloads; 0 of any other."""
    if spec.data not in (*PUBLISHED, CIFAR_F):
        return 0
    return _published(str(spec.data))[1].megabytes * 1_000_000


def missing(spec: TaskSpec) -> str | None:
    """What is not there, where it is expected and how to get it; None if it is there."""
    return _source(spec).missing() if is_pictures(spec) else None


def download_note(spec: TaskSpec) -> str | None:
    """What will be downloaded at the start of a sweep, where something will be."""
    if spec.download and isinstance(spec.data, HubData):
        return hub.download_note(spec.data)
    if not spec.download or spec.data not in (*PUBLISHED, CIFAR_F):
        return None
    name, known = _published(str(spec.data))
    if known.expected(Path(spec.root)).exists():
        return None
    return f"{name} will be downloaded into {spec.root}/ ({known.size}) when the sweep starts"


def open_pictures(spec: TaskSpec, download: bool = False) -> ImageDataset:
    """The data set's files and labels; no picture is decoded.

    Args:
        download: fetch a published data set that is not there.

    Raises:
        UserError: it is not there, or something is wrong with it.
    """
    source = _source(spec)
    can_be = isinstance(spec.data, HubData) or spec.data in (*PUBLISHED, CIFAR_F)
    is_fetched = download and can_be
    if not is_fetched and (absent := source.missing()):
        raise user_error("task.data", absent)
    return source.open(download)
