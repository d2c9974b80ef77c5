"""NumPy archives (`.npz`) with the pixels and labels of each part: MedMNIST's `train_images`,
`train_labels`, `val_…` and `test_…`, Keras' `x_train` and `y_train`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysel.common.errors import user_error
from raysel.common.text import and_more
from raysel.common.user_files import any_error_as
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.readers.labelled import labelled
from raysel.tasks.splits import Pool

ENDING = ".npz"

_PAIRS = (("{}_images", "{}_labels"), ("x_{}", "y_{}"), ("X_{}", "y_{}"))
_PARTS: dict[str, Pool] = {"train": "train", "val": "validation", "test": "test"}
_WHOLE = (("images", "labels"), ("x", "y"), ("X", "y"), ("images", "targets"))
_SINGLE = "raysel does single-label classification: one class a picture"


def arrays(file: Path, name: str, classes: Sequence[str] | None = None) -> ImageDataset:
    """Read an archive of arrays.

    Args:
        name: of the data set.
        classes: their names, in the order of their numbers; the numbers, if nothing is given.

    Raises:
        UserError: it cannot be read, holds no pictures and labels under the known names, pictures
            that are not 8-bit, grey or RGB, or labels that are not one class (path `task.data`).
    """
    refused = any_error_as(lambda why: user_error("task.data", f"{file} cannot be read: {why}"))
    with refused, np.load(file, allow_pickle=False) as opened:
        known = _parts(list(opened.files))
        if not known:
            message = f"{file} holds {and_more(opened.files, 8)}"
            names = "train_images and train_labels (MedMNIST's names), or x_train and y_train"
            raise user_error("task.data", f"{message}, and not {names}")
        read = {pool: (opened[x], opened[y], x, y) for pool, (x, y) in known.items()}
    pixels = [_pixels(file, x, images) for images, _, x, _ in read.values()]
    if len({one.shape[1:] for one in pixels}) > 1:
        sizes = and_more([f"{one.shape[1]}x{one.shape[2]}" for one in pixels])
        raise user_error("task.data", f"{file}: its parts have pictures of several sizes ({sizes})")
    labels: list[str] = []
    for (_, given, x, y), images in zip(read.values(), pixels, strict=True):
        labels += _labels(file, y, given, len(images), x)
    pools: list[Pool] = [pool for pool, one in zip(read, pixels, strict=True) for _ in one]
    return labelled(
        name,
        str(file),
        np.concatenate(pixels),
        labels,
        classes,
        pools=pools if len(read) > 1 else None,
    )


def _parts(names: list[str]) -> Mapping[Pool, tuple[str, str]]:
    """The names of the pictures and labels of each part that is there."""
    for pair in _PAIRS:
        known = {pool: (pair[0].format(p), pair[1].format(p)) for p, pool in _PARTS.items()}
        found = {pool: own for pool, own in known.items() if set(own) <= set(names)}
        if "train" in found:
            return found
    whole = next((own for own in _WHOLE if set(own) <= set(names)), None)
    return {} if whole is None else {"train": whole}


def _pixels(file: Path, name: str, images: NDArray[np.generic]) -> NDArray[np.uint8]:
    """[n, h, w, 3]."""
    shape = " x ".join(map(str, images.shape))
    if images.dtype != np.uint8:
        message = f"{file}: {name} holds {images.dtype}, and no bytes (uint8, 0 to 255)"
        raise user_error("task.data", message)
    grey = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 1)
    if not grey and not (images.ndim == 4 and images.shape[3] == 3):
        message = f"{file}: {name} is {shape}: neither grey nor RGB pictures"
        if images.ndim == 4 and images.shape[1] in (1, 3):
            turned = f"save {name}.transpose(0, 2, 3, 1)"
            raise user_error("task.data", f"{message}; their channels stand first: {turned}")
        volumes = images.ndim >= 4 and images.shape[-1] > 4
        raise user_error("task.data", f"{message}{' but volumes' if volumes else ''}")
    pixels = images.reshape(*images.shape[:3], -1).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=3) if grey else pixels)


def _labels(
    file: Path, name: str, labels: NDArray[np.generic], count: int, images: str
) -> list[str]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and _is_one_hot(labels):
        labels = labels.argmax(axis=1)
    if labels.ndim > 1:
        seen = f"{labels.shape[1]} labels a picture" if labels.ndim == 2 else "masks (segmentation)"
        raise user_error("task.data", f"{file}: {name} has {seen}; {_SINGLE}")
    if len(labels) != count:
        message = f"{file}: {len(labels):,} {name} and {count:,} {images}"
        raise user_error("task.data", message)
    return [str(label) for label in labels.tolist()]


def _is_one_hot(labels: NDArray[np.generic]) -> bool:
    """Whether each row is a 1 among zeros: one label, as Keras writes it."""
    if labels.dtype.kind not in "biuf":
        return False
    return bool((np.isin(labels, (0, 1)).all(axis=1) & (labels.sum(axis=1) == 1)).all())
