"""A task whose data set was opened once: what is wrong, what is not there, what was read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysel.common.errors import Problem, UserError, user_error
from raysel.spec.data_choice import FileData, FolderData, FunctionData, TableData
from raysel.spec.task import TaskSpec
from raysel.tasks.class_names import missing_label_notes
from raysel.tasks.data import Dataset, Labels
from raysel.tasks.data_paths import is_there
from raysel.tasks.data_summary import ClassCount, DataSummary, PartCount, group_summary
from raysel.tasks.datasets import (
    class_count,
    counted,
    download_note,
    is_pictures,
    missing,
    name_problems,
    open_arrays,
    open_pictures,
)
from raysel.tasks.decoding import TARGET, PartDecoder, cache_folder
from raysel.tasks.draws import SplitIndices, draw_splits, rest_of
from raysel.tasks.duplicates import DuplicateFinder, find
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.model_input import ModelInput
from raysel.tasks.range_scan import cached_ranges
from raysel.tasks.shifts import SHIFTS
from raysel.tasks.split_file import divide
from raysel.tasks.splits import Splits, own_parts, pool_of, pools_of, shares_not_applied

UNKNOWN_CLASSES = 10
"""Classes assumed of data that are not there."""

WHOLE = "official part, whole"
_NAMES = 5  # of classes, in a summary


class TaskShape(NamedTuple):
    """What a model must know of a task to be built."""

    channels: int
    image_size: tuple[int, int]
    class_count: int


@dataclass(frozen=True, eq=False)
class OpenedTask:
    """A task with its data set, opened and divided; no image is decoded.

    Attributes:
        problems: everything wrong with the task that can be known so. Data that are not there
            are no mistake here; `load_task` refuses them.
        missing: what of the data is not there, and how to get it.
        data, parts: None where they are not there, or something is wrong.
    """

    spec: TaskSpec
    problems: tuple[Problem, ...] = ()
    missing: str | None = None
    data: Dataset | ImageDataset | None = None
    parts: Splits | None = None

    @property
    def absent(self) -> str | None:
        """What is not there and will not be downloaded either; None if nothing is."""
        return None if download_note(self.spec) else self.missing

    def divided(self) -> tuple[Dataset | ImageDataset, Splits]:
        """The data set and its parts.

        Raises:
            UserError: something is wrong, or the data are not there.
        """
        if self.problems:
            raise UserError(*self.problems)
        if self.data is None or self.parts is None:
            raise user_error("task.data", self.missing or "is not there")
        return self.data, self.parts

    def shape(self, model: ModelInput | None = None) -> TaskShape:
        """Channels, (height, width) in pixels and number of classes.

        Args:
            model: what the model expects of pictures; timm's usual where nothing is given.

        Raises:
            UserError: an unknown data set or shift, or something wrong with its files.
        """
        if isinstance(self.data, Dataset):
            return TaskShape(self.data.channels, self.data.image_size, len(self.data.classes))
        if self.data is None and self.missing is None and self.problems:
            raise UserError(*self.problems)
        size = (model or ModelInput()).resized(self.spec.image_size).size
        known = class_count(self.spec) if self.data is None else len(self.data.classes)
        return TaskShape(3, (size, size), UNKNOWN_CLASSES if known is None else known)

    def has_source(self) -> bool:
        """Whether the split leaves a source part; of data that are not there it is assumed.

        Raises:
            UserError: something is wrong.
        """
        return self.missing is not None or len(self.divided()[1].source_train) > 0

    def has_groups(self) -> bool:
        """Whether the data set has groups; of data that are not there, whether the file
        names a column of them."""
        if self.data is None:
            return bool(getattr(self.spec.data, "group_column", None))
        return self.data.groups is not None

    def draws(self, splits: int) -> tuple[SplitIndices, ...]:
        """The splits of the confirm phase; none where fewer than two are asked for, and the
        search's own is taken.

        Raises:
            UserError: something is wrong, or there are not as many different ones.
        """
        if splits < 2:
            return ()
        data, parts = self.divided()
        official = self._pools(data)
        seed, shots = self.spec.split.seed, self.spec.split.shots
        return draw_splits(data.labels, data.classes, parts, splits, seed, shots, official)

    @property
    def rest(self) -> int:
        """Number of examples that `draws` draws from."""
        data, parts = self.divided()
        return len(rest_of(parts, len(data.labels), self._pools(data)))

    def _pools(self, data: Dataset | ImageDataset) -> NDArray[np.str_] | None:
        return pools_of(self.spec.split, data.official_splits)

    def training_labels(self) -> tuple[Labels, tuple[str, ...]] | None:
        """Labels of the training part before any shift, and the names of the classes; None of
        data that are not there.

        Raises:
            UserError: something is wrong.
        """
        if self.missing is not None:
            return None
        data, parts = self.divided()
        return data.labels[parts.train], data.classes

    def notes(self) -> list[str]:
        """What a person should know: what will be downloaded, what was odd in the reading, shares
        that are not applied."""
        if note := download_note(self.spec):
            return [note]
        if not isinstance(self.data, ImageDataset):
            return []
        missing = missing_label_notes(self.data.classes)
        return [*self.data.notes, *missing, *share_notes(self.spec, self.data.official_splits)]

    def summary(
        self, model: ModelInput | None = None, with_source: bool = True
    ) -> DataSummary | None:
        """What was read; None of data that are not there. What cannot be read and what is there
        twice is known where this node has decoded the same pictures before.

        Args:
            model: what the model expects of pictures; timm's usual where nothing is given.
            with_source: whether anything of the sweep reads the source part.

        Raises:
            UserError: something is wrong, or `load_task` would refuse what was decoded.
        """
        if self.missing is not None:
            return None
        data, parts = self.divided()
        with_source = with_source or self.spec.preprocess == "data"
        summary = summarise(self.spec, data, parts, with_source)
        if isinstance(data, Dataset):
            return summary
        ranges = cached_ranges(data, cache_folder(self.spec))
        if ranges is None:
            return summary
        decoder = PartDecoder(
            absolute(self.spec),
            prepared(self.spec, model or ModelInput()),
            replace(data, ranges=ranges),
            parts,
            with_source,
            open_pictures,
        )
        return decoder.decode().summary(summary) if decoder.is_decoded() else summary


def open_task(spec: TaskSpec, download: bool = False) -> OpenedTask:
    """Open a task's data set and divide it; what is wrong is in the result.

    Args:
        download: fetch a published data set that is not there.
    """
    if names := name_problems(spec):
        return OpenedTask(spec, tuple(names))
    if not is_pictures(spec):
        data = open_arrays(spec)
        problems = [*_embedded_problems(spec), *_channel_problems(spec, data)]
        return _divided(spec, data, problems)
    absent = missing(spec)
    if absent is not None and not (download and download_note(spec)):
        other = (Problem("task.data", absent),) if _is_of_another_kind(spec) else ()
        return OpenedTask(spec, other, absent)
    try:
        return _divided(spec, open_pictures(spec, download), [])
    except UserError as error:
        return OpenedTask(spec, tuple(error.problems))


def counted_task(spec: TaskSpec) -> OpenedTask | None:
    """A task whose data are not there, divided by the counts that are published; None where they
    are not known."""
    pictures = counted(spec)
    return None if pictures is None else _divided(spec, pictures, [])


def _divided(spec: TaskSpec, data: Dataset | ImageDataset, problems: list[Problem]) -> OpenedTask:
    parts = None
    try:
        parts = divide(spec, data.labels, data.classes, data.official_splits)
    except UserError as error:
        problems = [*problems, *error.problems]
    if isinstance(data, ImageDataset) and parts and spec.duplicates_policy == "error":
        problems = _same_files(data, parts).problems()
    return OpenedTask(spec, tuple(problems), None, data, parts)


def _is_of_another_kind(spec: TaskSpec) -> bool:
    """Whether something is where the data should, such as a named pipe or an archive."""
    data = spec.data
    if isinstance(data, FolderData):
        return is_there(Path(data.folder))
    if isinstance(data, FunctionData):
        return True  # a name is wrong, and no data are elsewhere
    if isinstance(data, FileData):
        return is_there(Path(data.file))
    return isinstance(data, TableData) and is_there(Path(data.csv))


def _embedded_problems(spec: TaskSpec) -> list[Problem]:
    """Settings of pictures, where the data are arrays."""
    message = f"{spec.name} is embedded and stays as it is"
    wrong = {
        "image_size": spec.image_size is not None,
        "augmentation": spec.augmentation != "none",
        "auto_augment": spec.auto_augment != "none",
        "preprocess": spec.preprocess == "model",
    }
    return [
        Problem(f"task.{key}", f"{message}; leave it out") for key, is_so in wrong.items() if is_so
    ]


def _channel_problems(spec: TaskSpec, dataset: Dataset) -> list[Problem]:
    needed = SHIFTS[spec.shift.kind].min_channels
    if dataset.channels >= needed:
        return []
    message = (
        f"{spec.shift.kind} needs {needed} channels; {spec.name} has {dataset.channels}."
        " digits_edges has 3"
    )
    return [Problem("task.shift.kind", message)]


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


# --- how a sweep takes its pictures --------------------------------------------------------------


def absolute(spec: TaskSpec) -> TaskSpec:
    """The same with absolute paths: a worker runs in another folder."""
    data = spec.data
    if isinstance(data, FolderData):
        data = data.model_copy(update={"folder": str(Path(data.folder).absolute())})
    elif isinstance(data, FileData):
        data = data.model_copy(update={"file": str(Path(data.file).absolute())})
    elif isinstance(data, TableData):
        files = data.root and str(Path(data.root).absolute())
        table = str(Path(data.csv).absolute())
        data = data.model_copy(update={"csv": table, "root": files})
    root = str(Path(spec.root).absolute())
    return spec.model_copy(update={"data": data, "root": root})


def prepared(spec: TaskSpec, model: ModelInput) -> ModelInput:
    """How the sweep prepares pictures: the model's own way, but for what the file says.

    The colour of a border is the mean. Where that is taken from the data it is not known before
    they are cut, and the centre is taken in place of a border.
    """
    model = model.resized(spec.image_size)
    if spec.preprocess == "unit":
        return replace(model, mean=(0.0,) * 3, std=(1.0,) * 3)
    if spec.preprocess == "data" and model.crop_mode == "border":
        return replace(model, crop_mode="center")
    return model


# --- what was read, counted ----------------------------------------------------------------------


def summarise(
    spec: TaskSpec, data: Dataset | ImageDataset, splits: Splits, with_source: bool
) -> DataSummary:
    """What is known of a data set once it is split.

    Args:
        with_source: whether anything of the sweep reads the source part.
    """
    labels, classes = data.labels, data.classes
    counts = np.bincount(labels, minlength=len(classes))
    least, most = int(np.argmin(counts)), int(np.argmax(counts))
    parts = {name: len(indices) for name, indices in vars(splits).items()}
    if not with_source:
        parts = {name: size for name, size in parts.items() if not name.startswith("source")}
    pools = data.official_splits
    return DataSummary(
        name=spec.name,
        pictures=len(labels),
        class_count=len(classes),
        class_names=tuple(classes[:_NAMES]),
        smallest=ClassCount(classes[least], int(counts[least])),
        largest=ClassCount(classes[most], int(counts[most])),
        parts=tuple(
            PartCount(name.replace("_", " "), size, _origin(spec, name, size, pools, len(labels)))
            for name, size in parts.items()
            if size or not name.startswith("source")
        ),
        unused=len(labels) - sum(parts.values()),
        left_out=data.left_out if isinstance(data, ImageDataset) else (),
        decoded=isinstance(data, Dataset),
        groups=None if data.groups is None else group_summary(data.groups, vars(splits)),
    )


def share_notes(spec: TaskSpec, official_splits: NDArray[np.str_] | None) -> tuple[str, ...]:
    """Notes on shares that are not applied, a line each."""
    if spec.split.indices is not None or official_splits is None:
        return ()
    own = pools_of(spec.split, official_splits)
    return tuple(
        f"task.split.{part}: {getattr(spec.split, part):g} is not applied: the data set has a"
        f" {part} part of {int((official_splits == part).sum()):,} pictures, which is taken whole."
        " Give a number of pictures for fewer, or official: false to divide the whole data set"
        for part in shares_not_applied(spec.split, own)
    )


def _origin(
    spec: TaskSpec, part: str, size: int, official_splits: NDArray[np.str_] | None, total: int
) -> str:
    """Where the examples of a part come from."""
    if spec.split.indices is not None:
        return f"as in {spec.split.indices}"
    kept = pools_of(spec.split, official_splits)
    wanted = "source" if part.startswith("source") else part
    pool = pool_of(wanted, kept)
    if kept is None or pool is None:
        merged = "its official parts as one" if official_splits is not None else f"all {total:,}"
        return f"drawn from {merged}"
    there = int((kept == pool).sum())
    if pool != wanted or not (own_parts(kept) or pool == "source"):
        of = f"official {pool} part's" if own_parts(kept) else "target's"
        return f"drawn from the {of} {there:,}"
    if part.startswith("source"):
        return "official source part"
    return WHOLE if size == there else f"of the official part's {there:,}"
