"""A data set of pictures before any of them is decoded: what a folder, a table or a published
data set comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raysel.common.errors import Problem, UserError, user_error
from raysel.tasks.class_names import check_count, check_names, listed
from raysel.tasks.data import Labels
from raysel.tasks.data_summary import LeftOut as LeftOut
from raysel.tasks.groups import Groups
from raysel.tasks.image_cache import CONTENT_BYTES
from raysel.tasks.image_io import read_image
from raysel.tasks.stored_images import StoredImage
from raysel.tasks.value_range import ValueRanges

Pixels = NDArray[np.uint8]
"""[h, w, c] of one picture, or [n, h, w, c] of several."""


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Pictures with labels; every one is RGB and may have a size of its own.

    Attributes:
        name: of the data set, as one word.
        classes: name of each class.
        labels: [N] of all pictures.
        sources: N files or pictures within files, or all pixels [N, h, w, 3] where the data set is
            an array.
        official_splits: [N] train, validation, test or source; None where it has no parts.
        shifted: the target's pictures carry their shift already.
        notes: what a person should know of the reading, a line each.
        left_out: files that were not taken, by reason; those that are taken and cannot be
            decoded are counted by `picture_task`.
        ranges: how pictures of more than 8 bits are scaled (`range_scan`).
        groups: of all pictures; None where there are none.

    Raises:
        UserError: a label is outside the range of the classes, or a class has no picture.
    """

    name: str
    classes: tuple[str, ...]
    labels: Labels
    sources: Sequence[Path | StoredImage] | Pixels
    official_splits: NDArray[np.str_] | None = None
    shifted: bool = False
    notes: tuple[str, ...] = field(default=())
    left_out: tuple[LeftOut, ...] = field(default=())
    ranges: ValueRanges = field(default_factory=ValueRanges)
    groups: Groups | None = None

    def __post_init__(self) -> None:
        _check_labels(self)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> Sequence[Path | StoredImage] | None:
        """The files of all pictures; None of an array."""
        return None if isinstance(self.sources, np.ndarray) else self.sources

    def read(self, index: int) -> Image.Image:
        """One picture, RGB.

        Raises:
            BadImage: it cannot be read.
        """
        source = self.sources[index]
        if isinstance(source, Path | StoredImage):
            return read_image(source, self.ranges)
        return Image.fromarray(source)

    def where(self, index: int) -> str:
        """Where a picture is, for a person."""
        source = self.sources[index]
        is_named = isinstance(source, Path | StoredImage)
        return str(source) if is_named else f"{self.name}[{index}]"

    def fingerprint(self, index: int) -> tuple[object, ...]:
        """What changes when a picture does, without reading a file: path, size and time."""
        source = self.sources[index]
        if isinstance(source, StoredImage):
            return source.fingerprint()
        if not isinstance(source, Path):
            return (source.tobytes(),)
        try:
            facts = source.stat()
        except OSError:
            return (str(source.absolute()), None, None)
        return (str(source.absolute()), facts.st_size, facts.st_mtime_ns)


def content_of(picture: Image.Image) -> bytes:
    """A hash of an RGB picture's size and pixels, before anything is done to it.

    Copies of a file have the same one whatever they are called, and so has a picture that was
    saved again without loss or with other metadata; one that was compressed again has another.
    """
    digest = hashlib.blake2b(repr(picture.size).encode(), digest_size=CONTENT_BYTES)
    digest.update(picture.tobytes())
    return digest.digest()


def _check_labels(pictures: ImageDataset) -> None:
    labels, classes = pictures.labels, pictures.classes
    if len(labels) != len(pictures.sources):
        raise ValueError(f"{len(labels)} labels for {len(pictures.sources)} pictures")
    outside = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(outside):
        first = int(outside[0])
        raise user_error(
            "task.data",
            f"label {labels[first]} of {pictures.where(first)} is outside 0 .. {len(classes) - 1}"
            f" ({len(classes)} classes)",
        )
    check_names(classes)
    check_count(pictures.name, classes)
    counts = np.bincount(labels, minlength=len(classes))
    empty = [classes[c] for c in np.flatnonzero(counts == 0)]
    if empty:
        raise UserError(Problem("task.data", f"{pictures.name}: no picture of {listed(empty)}"))
