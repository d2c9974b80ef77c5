"""From pictures on disk to a task: found, split, decoded once into the node's store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysel.common.errors import Problem, UserError, user_error
from raysel.spec.task import FolderData, TableData, TaskSpec
from raysel.tasks.cached_examples import StoredExamples
from raysel.tasks.data import SealedTest, Task
from raysel.tasks.data_summary import DataSummary
from raysel.tasks.decoding import CIFAR_F, TARGET, PartDecoder
from raysel.tasks.decoding import cache_folder as cache_folder
from raysel.tasks.duplicates import DuplicateFinder, find
from raysel.tasks.image_cache import Progress
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.model_input import ModelInput
from raysel.tasks.places import is_there, missing_path
from raysel.tasks.range_scan import kept_ranges, scan_ranges
from raysel.tasks.readers import breeds, cifar_c
from raysel.tasks.readers.breeds import SUBPOPULATIONS
from raysel.tasks.readers.folder import image_folder
from raysel.tasks.readers.published import PUBLISHED
from raysel.tasks.readers.table import TableOptions, picture_table
from raysel.tasks.split_file import divide, split_record
from raysel.tasks.splits import Splits
from raysel.tasks.summarise import share_notes, summarise
from raysel.tasks.table_files import as_on_disk

CIFAR_C = "cifar10c"
NAMES = (*PUBLISHED, CIFAR_C, CIFAR_F, *SUBPOPULATIONS)
"""Data sets of pictures that are known by name."""


_UNIT = (0.0,) * 3, (1.0,) * 3


def is_pictures(spec: TaskSpec) -> bool:
    """Whether the task's data are pictures, and not embedded arrays."""
    return not isinstance(spec.data, str) or spec.data in NAMES


def class_count(spec: TaskSpec) -> int | None:
    """The number of classes where it is known without the data; else None."""
    if spec.data in SUBPOPULATIONS:
        return len(breeds.superclasses(str(spec.data)))
    if isinstance(spec.data, str):
        name = "cifar10" if spec.data in (CIFAR_C, CIFAR_F) else spec.data
        return PUBLISHED[name].class_count
    if isinstance(spec.data, TableData) and spec.data.classes:
        return len(spec.data.classes)
    return None


def missing(spec: TaskSpec) -> str | None:
    """What is not there, where it is expected and how to get it; None if it is there."""
    root = Path(spec.root)
    if isinstance(spec.data, FolderData):
        return missing_path(Path(spec.data.folder), "folder")
    if isinstance(spec.data, TableData):
        files = spec.data.root and missing_path(Path(spec.data.root), "folder")
        return missing_path(Path(spec.data.csv), "file") or files or None
    if spec.data == CIFAR_C:
        return cifar_c.missing(root, spec.shift.kind)
    if spec.data in SUBPOPULATIONS:
        return breeds.missing(spec.data, root)
    name = "cifar10" if spec.data == CIFAR_F else spec.data
    known = PUBLISHED[name]
    return None if known.expected(root).exists() else known.missing(name, root)


def fetch_note(spec: TaskSpec) -> str | None:
    """What will be downloaded at the start of a sweep, where something will be."""
    name = "cifar10" if spec.data == CIFAR_F else spec.data
    if not spec.download or not isinstance(name, str) or name not in PUBLISHED:
        return None
    known = PUBLISHED[name]
    if known.expected(Path(spec.root)).exists():
        return None
    return f"{name} will be downloaded into {spec.root}/ ({known.size}) when the sweep starts"


def open_pictures(spec: TaskSpec, download: bool = False) -> ImageDataset:
    """The data set's files and labels; no picture is decoded.

    Raises:
        UserError: it is not there, or something is wrong with it.
    """
    root, seed = Path(spec.root), spec.split.seed
    by_hand = spec.data in (CIFAR_C, *SUBPOPULATIONS)
    fetched = download and isinstance(spec.data, str) and not by_hand
    absent = None if fetched else missing(spec)
    if absent is not None:
        raise user_error("task.data", absent)
    if isinstance(spec.data, FolderData):
        return image_folder(as_on_disk(Path(spec.data.folder)), nested=spec.data.nested)
    if isinstance(spec.data, TableData):
        return _table(spec.data)
    if spec.data == CIFAR_C:
        return cifar_c.cifar10c(root, spec.shift.kind, spec.shift.severity, seed)
    if spec.data in SUBPOPULATIONS:
        return breeds.pictures(spec.data, root)
    name = "cifar10" if spec.data == CIFAR_F else spec.data
    return replace(PUBLISHED[name].open(name, root, download, seed), name=spec.name)


def _table(data: TableData) -> ImageDataset:
    table = as_on_disk(Path(data.csv))
    files = table.parent if data.root is None else as_on_disk(Path(data.root))
    options = TableOptions(data.file_column, data.label_column, data.ending, data.classes)
    return picture_table(table, files, options)


def _is_of_another_kind(spec: TaskSpec) -> bool:
    """Whether something lies where the data should, such as a named pipe or an archive."""
    data = spec.data
    if isinstance(data, FolderData):
        return is_there(Path(data.folder))
    return isinstance(data, TableData) and is_there(Path(data.csv))


def check_pictures(spec: TaskSpec) -> list[Problem]:
    """What is wrong with the data and its split; nothing where the data are not there."""
    absent = missing(spec)
    if absent is not None:
        return [Problem("task.data", absent)] if _is_of_another_kind(spec) else []
    try:
        pictures = open_pictures(spec)
        parts = divide(spec, pictures.labels, pictures.classes, pictures.official_splits)
    except UserError as error:
        return list(error.problems)
    if spec.duplicates_policy != "error":
        return []
    return _same_files(pictures, parts).problems()


def picture_notes(spec: TaskSpec) -> tuple[str, ...]:
    """What a person should know of data that are there and sound."""
    pictures = open_pictures(spec)
    return (*pictures.notes, *share_notes(spec, pictures.official_splits))


def picture_summary(spec: TaskSpec, model: ModelInput, with_source: bool = True) -> DataSummary:
    """What was read. No picture is decoded: what cannot be read and what is there twice is
    known where this node has decoded the same pictures before.

    Raises:
        UserError: the data are missing or wrong, or `picture_task` would refuse what was decoded.
    """
    pictures = open_pictures(spec)
    parts = divide(spec, pictures.labels, pictures.classes, pictures.official_splits)
    with_source = with_source or spec.preprocess == "data"
    summary = _before_decoding(spec, pictures, parts, with_source)
    ranges = kept_ranges(pictures, cache_folder(spec))
    if ranges is None:
        return summary
    size, pictures = _prepared(spec, model), replace(pictures, ranges=ranges)
    decoder = PartDecoder(_absolute(spec), size, pictures, parts, with_source, open_pictures)
    return decoder.decode().summary(summary) if decoder.is_decoded() else summary


def picture_task(
    spec: TaskSpec,
    model: ModelInput,
    with_source: bool = True,
    progress: Progress | None = None,
    opened: Callable[[DataSummary], None] | None = None,
) -> Task:
    """Find, split, decode: after this no picture file is read any more on this node.

    Args:
        model: what the model expects of a picture.
        with_source: whether the source part is needed; it may be large.
        progress: called with the progress of decoding.
        opened: called with what was read, before anything is decoded.

    Raises:
        UserError: the data are missing or wrong, do not suffice for the split, more than
            `task.max_unreadable_fraction` of the pictures cannot be read, or `task.duplicates`
            refuses some.
    """
    pictures = open_pictures(spec, spec.download)
    spec = _absolute(spec)
    parts = divide(spec, pictures.labels, pictures.classes, pictures.official_splits)
    pictures = replace(pictures, ranges=scan_ranges(pictures, cache_folder(spec)))
    with_source = with_source or spec.preprocess == "data"
    summary = _before_decoding(spec, pictures, parts, with_source)
    if opened is not None:
        opened(summary)
    size = _prepared(spec, model)
    found = PartDecoder(spec, size, pictures, parts, with_source, open_pictures, progress).decode()
    kept = found.parts
    good = Splits(**{n: kept[n].indices if n in kept else p for n, p in vars(parts).items()})
    fit = kept.get("source_train", kept["train"])
    mean, std = _statistics(spec, model, fit)
    record = split_record(spec, pictures.labels, pictures.classes, good)
    return Task(
        name=spec.name,
        classes=pictures.classes,
        source_train=kept.get("source_train"),
        source_validation=kept.get("source_validation"),
        train=kept["train"],
        validation=kept["validation"],
        test=SealedTest(kept["test"]),
        mean=mean,
        std=std,
        shift=spec.shift,
        ranges=pictures.ranges,
        record={**record, "bad_images": found.unreadable, "dropped_copies": found.dropped},
        notes=(
            *pictures.notes,
            *pictures.ranges.notes(),
            *share_notes(spec, pictures.official_splits),
            *found.notes,
        ),
        summary=found.summary(summary),
    )


def _before_decoding(
    spec: TaskSpec, pictures: ImageDataset, parts: Splits, with_source: bool
) -> DataSummary:
    return summarise(
        spec,
        pictures.labels,
        pictures.classes,
        parts,
        pictures.official_splits,
        with_source,
        pictures.left_out,
        decoded=False,
    )


def _same_files(pictures: ImageDataset, parts: Splits) -> DuplicateFinder:
    """Examples of the target that are one file: by two spellings of its path, or by a link."""

    def key(part: str, row: int) -> tuple[int, int] | None:
        source = pictures.sources[int(getattr(parts, part)[row])]
        if not isinstance(source, Path):
            return None
        try:
            facts = source.stat()
        except OSError:  # reported as unreadable
            return None
        return facts.st_dev, facts.st_ino

    target = {name: getattr(parts, name) for name in TARGET}
    return find(target, key, pictures.labels, pictures.classes, pictures.where)


def _absolute(spec: TaskSpec) -> TaskSpec:
    """The same with absolute paths: a worker runs in another folder."""
    data = spec.data
    if isinstance(data, FolderData):
        data = data.model_copy(update={"folder": str(Path(data.folder).absolute())})
    elif isinstance(data, TableData):
        files = data.root and str(Path(data.root).absolute())
        table = str(Path(data.csv).absolute())
        data = data.model_copy(update={"csv": table, "root": files})
    root = str(Path(spec.root).absolute())
    return spec.model_copy(update={"data": data, "root": root})


def _prepared(spec: TaskSpec, model: ModelInput) -> ModelInput:
    """How the sweep prepares pictures: the model's own way, but for what the file says.

    The colour of a border is the mean. Where that is taken from the data it is not known before
    they are cut, and the centre is taken in place of a border.
    """
    model = model.resized(spec.image_size)
    if spec.preprocess == "unit":
        return replace(model, mean=_UNIT[0], std=_UNIT[1])
    if spec.preprocess == "data" and model.crop_mode == "border":
        return replace(model, crop_mode="center")
    return model


def _statistics(
    spec: TaskSpec, model: ModelInput, examples: StoredExamples
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if spec.preprocess == "unit":
        return _UNIT
    if spec.preprocess == "data":
        return _channel_statistics(examples)
    return model.mean, model.std


def _channel_statistics(
    examples: StoredExamples,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel in [0, 1], a few pictures at a time."""
    total, squares, count = np.zeros(3), np.zeros(3), 0
    for some in np.array_split(np.arange(len(examples)), max(1, len(examples) // 64)):
        pixels: NDArray[np.float64] = examples.centres(some).reshape(-1, 3) / 255.0
        total += pixels.sum(axis=0)
        squares += np.square(pixels).sum(axis=0)
        count += len(pixels)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std = np.where(std > 1e-8, std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
