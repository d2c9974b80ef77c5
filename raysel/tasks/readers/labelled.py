"""A data set whose pictures come with a label each: rows of Parquet, samples of an archive, what a
function returns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysel.tasks.groups import Groups
from raysel.tasks.image_dataset import ImageDataset, LeftOut
from raysel.tasks.labels import Label, class_labels
from raysel.tasks.splits import Pool
from raysel.tasks.stored_images import StoredImage

Sources = Sequence[Path | StoredImage] | NDArray[np.uint8]


def labelled(
    name: str,
    where: str,
    sources: Sources,
    labels: Sequence[str],
    classes: Sequence[str] | None = None,
    pools: Sequence[Pool] | None = None,
    notes: Sequence[str] = (),
    left_out: Sequence[LeftOut] = (),
    groups: Groups | None = None,
) -> ImageDataset:
    """The data set; no picture is decoded.

    Args:
        name: of the data set.
        where: what holds the labels, for messages.
        labels: a class's name or number for each picture; counted from 1 in messages.
        classes: their names, in the order of their numbers; those that occur, if nothing is given.
        groups: of all pictures.

    Raises:
        UserError: a label is not one class, or none of the classes (path `task.data`).
    """
    rows = [Label(number, text, "picture") for number, text in enumerate(labels, 1)]
    found = class_labels(where, rows, classes)
    return ImageDataset(
        name=name,
        classes=found.classes,
        labels=found.numbers,
        sources=sources,
        official_splits=None if pools is None else np.array(pools),
        notes=(*notes, *found.notes),
        left_out=tuple(left_out),
        groups=groups,
    )
