"""From pictures on disk to a task: found, split, decoded once into the node's store."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
from numpy.typing import NDArray

import raysel
from raysel.errors import Problem, UserError, user_error
from raysel.places import user_cache
from raysel.task_spec import FolderData, ShiftSpec, TableData, TaskSpec
from raysel.tasks import cifar_shifted, subpopulations
from raysel.tasks.augmentation import NEEDS_WHOLE
from raysel.tasks.data import Indices, Labels, SealedTest, Task
from raysel.tasks.folders import image_folder
from raysel.tasks.geometry import Geometry, Pixels
from raysel.tasks.model_input import ModelInput
from raysel.tasks.pictures import Pictures
from raysel.tasks.published import PUBLISHED
from raysel.tasks.range_scan import scan_ranges
from raysel.tasks.shifts import SHIFTS, shift_labels, shift_pixels
from raysel.tasks.split_file import divide, split_record
from raysel.tasks.splits import Splits
from raysel.tasks.store import Draw, Progress, key_of, store
from raysel.tasks.stored import StoredExamples
from raysel.tasks.subpopulations import SUBPOPULATIONS
from raysel.tasks.table import picture_table
from raysel.tasks.value_range import ValueRanges

CIFAR_C, CIFAR_F = "cifar10c", "cifar10f"
NAMES = (*PUBLISHED, CIFAR_C, CIFAR_F, *SUBPOPULATIONS)
"""Data sets of pictures that are known by name."""

_TARGET = ("train", "validation", "test")
_TOLD = 5  # bad pictures told one by one


def is_pictures(spec: TaskSpec) -> bool:
    """Whether the task's data are pictures, and not embedded arrays."""
    return not isinstance(spec.data, str) or spec.data in NAMES


def class_count(spec: TaskSpec) -> int | None:
    """The number of classes where it is known without the data; else None."""
    if spec.data in SUBPOPULATIONS:
        return len(subpopulations.superclasses(str(spec.data)))
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
        return _lack(Path(spec.data.folder), "folder")
    if isinstance(spec.data, TableData):
        return _lack(Path(spec.data.csv), "file")
    if spec.data == CIFAR_C:
        return cifar_shifted.missing(root, spec.shift.kind)
    if spec.data in SUBPOPULATIONS:
        return subpopulations.missing(spec.data, root)
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


def open_pictures(spec: TaskSpec, download: bool = False) -> Pictures:
    """The data set's files and labels; no picture is decoded.

    Raises:
        UserError: it is not there, or something is wrong with it.
    """
    root, seed = Path(spec.root), spec.split.seed
    by_hand = spec.data in (CIFAR_C, *SUBPOPULATIONS)
    fetched = download and isinstance(spec.data, str) and not by_hand
    lack = None if fetched else missing(spec)
    if lack is not None:
        raise user_error("task.data", lack)
    if isinstance(spec.data, FolderData):
        return image_folder(Path(spec.data.folder))
    if isinstance(spec.data, TableData):
        table = Path(spec.data.csv)
        files = table.parent if spec.data.root is None else Path(spec.data.root)
        return picture_table(table, files, spec.data.classes)
    if spec.data == CIFAR_C:
        return cifar_shifted.cifar10c(root, spec.shift.kind, spec.shift.severity, seed)
    if spec.data in SUBPOPULATIONS:
        return subpopulations.pictures(spec.data, root)
    name = "cifar10" if spec.data == CIFAR_F else spec.data
    return replace(PUBLISHED[name].open(name, root, download, seed), name=spec.name)


def check_pictures(spec: TaskSpec) -> list[Problem]:
    """What is wrong with the data and its split; nothing where the data are not there."""
    if missing(spec) is not None:
        return []
    try:
        pictures = open_pictures(spec)
        divide(spec, pictures.labels, pictures.classes, pictures.pools)
    except UserError as error:
        return list(error.problems)
    return []


def picture_task(
    spec: TaskSpec,
    model: ModelInput,
    with_source: bool = True,
    progress: Progress | None = None,
) -> Task:
    """Find, split, decode: after this no picture file is read any more on this node.

    Args:
        model: what the model expects of a picture.
        with_source: whether the source part is needed; it may be large.
        progress: told how far the decoding is.

    Raises:
        UserError: the data are missing or wrong, do not suffice for the split, or more than
            `task.bad_images` of the pictures cannot be read.
    """
    pictures = open_pictures(spec, spec.download)
    spec = _absolute(spec)
    parts = divide(spec, pictures.labels, pictures.classes, pictures.pools)
    pictures = replace(pictures, ranges=scan_ranges(pictures, cache_folder(spec)))
    with_source = with_source or spec.preprocess == "data"
    keeper = _Keeper(spec, model.resized(spec.image_size), pictures, progress)
    names = [n for n in Splits.__annotations__ if with_source or n in _TARGET]
    kept = {n: keeper.part(n, getattr(parts, n)) for n in names if len(getattr(parts, n))}
    keeper.refuse_too_many()
    good = Splits(**{n: kept[n].indices if n in kept else p for n, p in asdict(parts).items()})
    keeper.refuse_lost_classes(good)
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
        record={**record, "bad_images": keeper.bad},
        notes=(*pictures.notes, *pictures.ranges.notes(), *keeper.notes()),
    )


class _Keeper:
    """Decodes the parts, and keeps the list of what cannot be read."""

    def __init__(
        self, spec: TaskSpec, model: ModelInput, pictures: Pictures, progress: Progress | None
    ) -> None:
        self._spec, self._model = spec, model
        self._pictures, self._progress = pictures, progress
        self._read = 0
        self.bad: list[dict[str, object]] = []

    def part(self, name: str, indices: Indices) -> StoredExamples:
        """The examples of a part, without those that cannot be read."""
        spec, pictures = self._spec, self._pictures
        trained = name in ("train", "source_train")
        whole = trained and spec.augmentation in NEEDS_WHOLE
        geometry = Geometry(self._model, whole)
        shift = _image_shift(spec, pictures) if name in _TARGET else None
        key = _key(pictures, indices, geometry, shift, spec.split.seed)
        cache = cache_folder(spec)
        draw = _drawer(pictures, indices, geometry, shift, spec.split.seed)
        found = store(cache, key, len(indices), draw, self._progress)
        self._read += len(indices)
        lost = dict(found.bad)
        for row, reason in lost.items():
            index = int(indices[row])
            where = pictures.where(index)
            self.bad.append({"part": name, "index": index, "file": where, "reason": reason})
        rows = np.array([row for row in range(len(indices)) if row not in lost], np.int64)
        labels = pictures.labels[indices[rows]]
        return StoredExamples(
            cache=cache,
            key=key,
            sha256=found.sha256,
            drawing=partial(_draw_elsewhere, spec, indices, geometry, shift, pictures.ranges),
            count=len(indices),
            rows=rows,
            indices=indices[rows],
            labels=_target_labels(spec, labels, indices[rows], pictures, name),
            geometry=geometry,
            augmentation=spec.augmentation if trained else "none",
        )

    def refuse_too_many(self) -> None:
        """Stop before training where too many pictures cannot be read."""
        allowed = self._spec.bad_images
        if len(self.bad) <= allowed * self._read:
            return
        share = len(self.bad) / self._read
        raise user_error(
            "task.data",
            f"{len(self.bad)} of {self._read} pictures cannot be read ({share:.1%}, more than"
            f" task.bad_images: {allowed:g}): {self._told()}",
        )

    def refuse_lost_classes(self, parts: Splits) -> None:
        """Stop where the readable pictures of a part lack a class that the part had."""
        for name in ("train", "validation"):
            labels = self._pictures.labels[getattr(parts, name)]
            counts = np.bincount(labels, minlength=len(self._pictures.classes))
            if self.bad and (counts == 0).any():
                lost = self._pictures.classes[int(np.argmin(counts))]
                message = f'no picture of class "{lost}" can be read: {self._told()}'
                raise user_error(f"task.split.{name}", message)

    def notes(self) -> Sequence[str]:
        """The pictures that were left out, in a line."""
        if not self.bad:
            return ()
        count = f"{len(self.bad)} of {self._read} pictures cannot be read and are left out"
        return (f"{count} (all of them in split.json): {self._told()}",)

    def _told(self) -> str:
        shown = "; ".join(f"{bad['file']} {bad['reason']}" for bad in self.bad[:_TOLD])
        more = len(self.bad) - _TOLD
        return shown if more <= 0 else f"{shown}; and {more} more"


def cache_folder(spec: TaskSpec) -> Path:
    """Where the stores of a node lie: `task.cache`, or below the user's cache folder."""
    if spec.cache is not None:
        return Path(spec.cache).absolute()
    return user_cache() / "images"


def _absolute(spec: TaskSpec) -> TaskSpec:
    """The same with absolute paths: a worker runs in another folder."""
    data = spec.data
    if isinstance(data, FolderData):
        data = FolderData(folder=str(Path(data.folder).absolute()))
    elif isinstance(data, TableData):
        files = data.root and str(Path(data.root).absolute())
        data = TableData(csv=str(Path(data.csv).absolute()), root=files, classes=data.classes)
    root = str(Path(spec.root).absolute())
    return spec.model_copy(update={"data": data, "root": root})


def _image_shift(spec: TaskSpec, pictures: Pictures) -> ShiftSpec | None:
    """The shift that the target's pictures still need; None if it leaves pixels as they are."""
    if pictures.shifted or spec.data == CIFAR_F:
        return None
    return spec.shift if SHIFTS[spec.shift.kind].of_image is not None else None


def _target_labels(
    spec: TaskSpec, labels: Labels, indices: Indices, pictures: Pictures, name: str
) -> Labels:
    shift = spec.shift
    if spec.data == CIFAR_F:
        shift = ShiftSpec(kind="label_flip")
    if name not in _TARGET or pictures.shifted or SHIFTS[shift.kind].of_label is None:
        return labels
    return shift_labels(labels, indices, shift, spec.split.seed, len(pictures.classes))


def _drawer(
    pictures: Pictures, indices: Indices, geometry: Geometry, shift: ShiftSpec | None, seed: int
) -> Draw:
    def draw(row: int) -> Pixels:
        index = int(indices[row])
        picture = pictures.read(index)
        if shift is None:
            return geometry.stored(picture)
        # put on the kept pixels and rounded to 8 bits, as CIFAR-10-C was made; a shift is of
        # pixels, so those of all parts have one size
        return shift_pixels(geometry.at_size(picture), index, shift, seed, geometry.input.size)

    return draw


def _draw_elsewhere(
    spec: TaskSpec,
    indices: Indices,
    geometry: Geometry,
    shift: ShiftSpec | None,
    ranges: ValueRanges,
) -> Draw:
    """`_drawer` on another node, from that node's copy of the data set."""
    pictures = replace(open_pictures(spec), ranges=ranges)
    return _drawer(pictures, indices, geometry, shift, spec.split.seed)


def _key(
    pictures: Pictures, indices: Indices, geometry: Geometry, shift: ShiftSpec | None, seed: int
) -> str:
    facts = {
        "geometry": asdict(geometry),
        "shift": None
        if shift is None
        else [shift.model_dump(mode="json"), seed, geometry.input.size],
        "ranges": pictures.ranges.to_json(),
        "versions": [raysel.__version__, PIL.__version__],
    }
    places = [(int(index) if shift else None) for index in indices]
    prints = (
        (place, *pictures.fingerprint(int(i))) for place, i in zip(places, indices, strict=True)
    )
    return key_of(facts, prints)


def _statistics(
    spec: TaskSpec, model: ModelInput, examples: StoredExamples
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if spec.preprocess == "unit":
        return (0.0,) * 3, (1.0,) * 3
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


def _lack(path: Path, what: Literal["folder", "file"]) -> str | None:
    try:
        there = path.is_dir() if what == "folder" else path.is_file()
    except OSError as error:  # before Python 3.14 a folder above it that may not be read
        return f"{path} cannot be read: {error.strerror}"
    return None if there else f"there is no {what} {path}{_meant(path)}"


def _meant(path: Path) -> str:
    """A name beside it that is nearly the same."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f", and no folder {path.parent}"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f'; did you mean "{path.with_name(close[0])}"?' if close else ""
