"""From the `task` of a sweep file to the task itself: found, split, shifted; pictures are decoded
once into the node's image cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysel.spec.task import Augmentation, TaskSpec
from raysel.tasks.cached_examples import CachedExamples
from raysel.tasks.class_names import missing_label_notes
from raysel.tasks.data import (
    Dataset,
    DrawnSplit,
    Examples,
    Indices,
    SealedTest,
    Task,
    channel_statistics,
)
from raysel.tasks.data_summary import DataSummary
from raysel.tasks.datasets import open_pictures
from raysel.tasks.decoding import PartDecoder, cache_folder
from raysel.tasks.draws import SplitIndices
from raysel.tasks.image_cache import Progress
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.model_input import ModelInput
from raysel.tasks.opened_task import absolute, open_task, prepared, share_notes, summarise
from raysel.tasks.range_scan import scan_ranges
from raysel.tasks.shifts import shift_examples
from raysel.tasks.split_file import split_record
from raysel.tasks.splits import Splits

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of each channel."""


def load_task(
    spec: TaskSpec,
    model: ModelInput | None = None,
    with_source: bool = True,
    progress: Progress | None = None,
    opened: Callable[[DataSummary], None] | None = None,
    splits: int = 0,
    source_augmentation: Augmentation | None = None,
) -> Task:
    """Find, split, decode, shift (the shift's seed is the split's): after this no picture file is
    read any more on this node.

    Args:
        model: what the model expects of pictures; timm's usual where nothing is given.
        with_source: whether the source part is needed; it may be large.
        progress: called with the number of decoded pictures of a part.
        opened: called with what was read, before anything is decoded.
        splits: number of splits to draw again for the confirm phase.
        source_augmentation: of the source's training part; as the task's, if nothing is given.

    Raises:
        UserError: something is wrong with the task, data are missing, more than
            `task.max_unreadable_fraction` of the pictures cannot be read, or `task.duplicates`
            refuses some.
    """
    opened_task = open_task(spec, spec.download)
    data, parts = opened_task.divided()
    with_source = with_source or spec.preprocess == "data"
    summary = summarise(spec, data, parts, with_source)
    draws = opened_task.draws(splits)
    common: dict[str, Any] = {"name": spec.name, "classes": data.classes, "shift": spec.shift}
    common["rest"] = opened_task.rest
    if isinstance(data, Dataset):
        if opened is not None:
            opened(summary)
        return Task(**common, **_arrays(spec, data, parts, draws), summary=summary)
    spec = absolute(spec)
    data = replace(data, ranges=scan_ranges(data, cache_folder(spec)))
    if opened is not None:
        opened(summary)
    return Task(
        **common,
        **_pictures(
            spec,
            model or ModelInput(),
            data,
            parts,
            draws,
            with_source,
            progress,
            summary,
            source_augmentation,
        ),
    )


def _arrays(
    spec: TaskSpec, data: Dataset, parts: Splits, draws: Sequence[SplitIndices]
) -> dict[str, Any]:
    """The fields of a task of embedded arrays."""

    def plain(indices: Indices) -> Examples:
        groups = data.groups and data.groups.only(indices)
        return Examples(data.load_images(indices), data.labels[indices], groups)

    def target(indices: Indices) -> Examples:
        classes = len(data.classes)
        return shift_examples(plain(indices), indices, spec.shift, spec.split.seed, classes)

    has_source = len(parts.source_train) > 0
    source_train = plain(parts.source_train) if has_source else None
    train = target(parts.train)
    mean, std = channel_statistics((train if source_train is None else source_train).images)
    if spec.preprocess == "unit":
        mean, std = (0.0,) * data.channels, (1.0,) * data.channels
    return {
        "source_train": source_train,
        "source_validation": plain(parts.source_validation) if has_source else None,
        "train": train,
        "validation": target(parts.validation),
        "test": SealedTest(target(parts.test)),
        "mean": mean,
        "std": std,
        "draws": tuple(DrawnSplit(target(d.train), target(d.validation)) for d in draws),
        "record": split_record(spec, data.labels, data.classes, parts, draws),
    }


def _pictures(
    spec: TaskSpec,
    model: ModelInput,
    data: ImageDataset,
    parts: Splits,
    draws: Sequence[SplitIndices],
    with_source: bool,
    progress: Progress | None,
    summary: DataSummary,
    source_augmentation: Augmentation | None,
) -> dict[str, Any]:
    """The fields of a task of pictures."""
    size = prepared(spec, model)
    decoder = PartDecoder(
        spec, size, data, parts, with_source, open_pictures, progress, source_augmentation
    )
    found = decoder.decode()
    splits = decoder.decode_draws(draws) if draws else ()
    taken = [SplitIndices(s.train.indices, s.validation.indices) for s in splits]  # type: ignore[union-attr]
    kept = found.parts
    good = Splits(**{n: kept[n].indices if n in kept else p for n, p in vars(parts).items()})
    mean, std = _statistics(spec, model, kept.get("source_train", kept["train"]))
    record = split_record(spec, data.labels, data.classes, good, taken, data.names)
    shares = share_notes(spec, data.official_splits)
    missing = missing_label_notes(data.classes)
    return {
        "source_train": kept.get("source_train"),
        "source_validation": kept.get("source_validation"),
        "train": kept["train"],
        "validation": kept["validation"],
        "test": SealedTest(kept["test"]),
        "mean": mean,
        "std": std,
        "draws": splits,
        "ranges": data.ranges,
        "record": {**record, "bad_images": found.unreadable, "dropped_copies": found.dropped},
        "notes": (*data.notes, *missing, *data.ranges.notes(), *shares, *found.notes),
        "summary": found.summary(summary),
    }


def _statistics(spec: TaskSpec, model: ModelInput, examples: CachedExamples) -> Statistics:
    if spec.preprocess == "unit":
        return (0.0,) * 3, (1.0,) * 3
    if spec.preprocess == "data":
        return _channel_statistics(examples)
    return model.mean, model.std


def _channel_statistics(examples: CachedExamples) -> Statistics:
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
