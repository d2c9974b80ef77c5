"""A task as values: a data set before it is split, its parts, and the sealed test part.

Shapes: n examples, c channels, h x w pixels. Images are float32 in [0, 1], labels int64.
Small data sets are held as arrays (`Examples`), pictures in the node's image cache
(`CachedExamples`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysel.spec.task import ShiftSpec
from raysel.tasks.cached_examples import CachedExamples
from raysel.tasks.class_names import check_count
from raysel.tasks.data_summary import DataSummary
from raysel.tasks.groups import Groups
from raysel.tasks.value_range import ValueRanges

Images = NDArray[np.float32]
"""[n, c, h, w], values in [0, 1]."""

Labels = NDArray[np.int64]
"""[n], values 0 .. number of classes - 1."""

Indices = NDArray[np.int64]
"""[n], places of examples in their data set."""


class TestSplitSealed(RuntimeError):
    """The test part was read outside the confirm phase."""

    __test__ = False  # pytest would take the name for a test case


@dataclass(frozen=True, eq=False)
class Dataset:
    """A whole data set before it is split; images are decoded only for those asked for.

    Attributes:
        classes: name of each class.
        labels: [N] of all examples.
        channels, image_size: c and (h, w) of every image.
        load_images: from indices [n] to images [n, c, h, w].
        official_splits: [N] train or source; None where all are of one part.
        groups: of all examples; None where there are none.

    Raises:
        UserError: it has fewer than two classes, or its labels are all the same.
    """

    classes: tuple[str, ...]
    labels: Labels
    channels: int
    image_size: tuple[int, int]
    load_images: Callable[[Indices], Images]
    official_splits: NDArray[np.str_] | None = None
    groups: Groups | None = None

    def __post_init__(self) -> None:
        present = [self.classes[label] for label in np.unique(self.labels)]
        check_count("the data set", present)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Examples:
    """Images with their labels.

    Attributes:
        images: float32 [n, c, h, w], values in [0, 1].
        labels: int64 [n].
        groups: their groups, where the data set has some.

    Raises:
        ValueError: another type or shape, or not one label an image.
    """

    images: Images
    labels: Labels
    groups: Groups | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.float32 or self.images.ndim != 4:
            raise ValueError(
                f"images must be float32 [n, c, h, w], not {self.images.dtype}"
                f" {list(self.images.shape)}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 [{len(self.images)}], not {self.labels.dtype}"
                f" {list(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)


Part = Examples | CachedExamples
"""The examples of one part of a task."""


class SealedTest:
    """The test part, which raises where it is read outside the confirm phase.

        with task.test.opened() as examples:
            ...

    It guards against a mistake, not against intent. A copy that was pickled (that is how
    a worker gets it) arrives sealed, even when it was sent from within an open block.
    """

    def __init__(self, examples: Part) -> None:
        self._examples = examples
        self._open = False

    def __len__(self) -> int:
        return len(self._examples)

    def __repr__(self) -> str:
        return f"SealedTest({len(self)} examples, {'open' if self._open else 'sealed'})"

    @property
    def examples(self) -> Part:
        """The test examples, within `opened()`.

        Raises:
            TestSplitSealed: everywhere else.
        """
        if not self._open:
            raise TestSplitSealed("the test split is read in the confirm phase only")
        return self._examples

    @contextmanager
    def opened(self) -> Iterator[Part]:
        """Open for one block: for the confirm phase, and for nothing else."""
        self._open = True
        try:
            yield self._examples
        finally:
            self._open = False

    def __getstate__(self) -> dict[str, Any]:
        return {"_examples": self._examples, "_open": False}


@dataclass(frozen=True, eq=False)
class DrawnSplit:
    """Training and validation part of one split of the confirm phase, with the task's shift."""

    train: Part
    validation: Part


@dataclass(frozen=True, eq=False)
class Task:
    """What one sweep learns: a source to start from, and a target to tune on.

    Attributes:
        classes: name of each class.
        source_train, source_validation: without shift; None where no source part is left.
        train, validation: the target's, with its shift.
        test: the target's, with its shift, sealed until the confirm phase.
        draws: training and validation parts that the confirm phase uses in place of the
            search's own; the test part stays the same.
        rest: number of examples that they are drawn from.
        mean, std: a number a channel, by which images are standardised. Of embedded data:
            those of the source's training part (of the target's where there is no source),
            so that images are standardised as the source model saw them.
        record: which example belongs to which part, for `split.json`.
        notes: what a person should know of the data, a line each.
        summary: what was read, as every verb says it first.
        shift: what the target's examples differ by from the source's.
        ranges: how pictures of more than 8 bits were scaled.
    """

    name: str
    classes: tuple[str, ...]
    source_train: Part | None
    source_validation: Part | None
    train: Part
    validation: Part
    test: SealedTest
    mean: tuple[float, ...]
    std: tuple[float, ...]
    draws: tuple[DrawnSplit, ...] = ()
    rest: int = 0
    record: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    summary: DataSummary | None = None
    shift: ShiftSpec = field(default_factory=ShiftSpec)
    ranges: ValueRanges = field(default_factory=ValueRanges)

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.image_shape[0]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return self.train.image_shape[1:]


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel.

    Args:
        images: [n, c, h, w].

    Returns:
        c means and c deviations; the deviation of a constant channel is given as 1, so
        that it can be divided by.
    """
    mean = images.mean(axis=(0, 2, 3), dtype=np.float64)
    std = images.std(axis=(0, 2, 3), dtype=np.float64)
    # rounding leaves a constant channel a deviation of about 1e-17, not 0
    std = np.where(std > 1e-8, std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
