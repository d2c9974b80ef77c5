"""CIFAR-10-C in its published layout, and CIFAR-10F (docs/algorithms.md).

CIFAR-10-C (Hendrycks and Dietterich 2019; Zenodo 2535967) is a folder `CIFAR-10-C` with one
`<corruption>.npy`, uint8 [50000, 32, 32, 3], for each corruption and one `labels.npy` [50000];
severity s is the rows (s-1)·10,000 to s·10,000. They are CIFAR-10's **test** pictures, so all
parts of the target are drawn from these 10,000. Where CIFAR-10 itself is in the same root,
its training part is the source.

CIFAR-10F is CIFAR-10 with the labels y -> 9 - y; the source keeps its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysel.common.errors import nearest, user_error
from raysel.common.user_files import any_error_as
from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.readers.published import PUBLISHED

FOLDER = "CIFAR-10-C"
SEVERITIES = 5
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CORRUPTIONS = (
    *("brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost"),
    *("gaussian_blur", "gaussian_noise", "glass_blur", "impulse_noise", "jpeg_compression"),
    *("motion_blur", "pixelate", "saturate", "shot_noise", "snow", "spatter", "speckle_noise"),
    "zoom_blur",
)
"""The 19 files of the release; the surgical and the automatic paper use 14 of them."""


def missing(root: Path, corruption: str) -> str | None:
    """What of CIFAR-10-C is not there, and how to get it; None if nothing is missing."""
    for file in (root / FOLDER / "labels.npy", root / FOLDER / f"{corruption}.npy"):
        if not file.is_file():
            return (
                f"cifar10c is not in {root}/ (expected {file}). Get CIFAR-10-C.tar (2.9 GB) from"
                f" https://zenodo.org/records/2535967 and unpack it in {root}/"
            )
    return None


def cifar10c(root: Path, corruption: str, severity: int, seed: int) -> ImageDataset:
    """The pictures of one corruption at one severity, 1 to 5.

    Raises:
        UserError: the files are missing or of another shape (path `task.data`), or there is
            no such corruption (path `task.shift.kind`).
    """
    if corruption not in CORRUPTIONS:
        message = f'cifar10c has no corruption "{corruption}"; {nearest(corruption, CORRUPTIONS)}'
        raise user_error("task.shift.kind", message)
    problem = missing(root, corruption)
    if problem:
        raise user_error("task.data", problem)
    images = _array(root / FOLDER / f"{corruption}.npy")
    labels = _array(root / FOLDER / "labels.npy")
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        found = f"{images.dtype} {list(images.shape)}"
        raise user_error("task.data", f"{corruption}.npy must be uint8 [n, h, w, 3], not {found}")
    if labels.dtype.kind not in "iu":
        raise user_error("task.data", f"labels.npy must be whole numbers, not {labels.dtype}")
    if len(images) % SEVERITIES or labels.shape != (len(images),):
        found = f"{len(images)} pictures and {list(labels.shape)} labels are not five severities"
        raise user_error("task.data", f"cifar10c in {root / FOLDER}: {found}")
    size = len(images) // SEVERITIES
    rows = slice((severity - 1) * size, severity * size)
    shifted = ImageDataset(
        name="cifar10c",
        classes=CLASSES,
        labels=labels[rows].astype(np.int64),
        sources=np.asarray(images[rows], np.uint8),
        shifted=True,
    )
    return _with_source(shifted, root, seed)


def _with_source(shifted: ImageDataset, root: Path, seed: int) -> ImageDataset:
    """Beside the target's pictures the clean training part of CIFAR-10, if it is there."""
    clean = PUBLISHED["cifar10"]
    if not clean.expected(root).exists():
        return shifted
    whole = clean.open("cifar10", root, False, seed)
    assert whole.official_splits is not None
    kept = whole.official_splits == "train"
    assert isinstance(whole.sources, np.ndarray) and isinstance(shifted.sources, np.ndarray)
    # one pool for all of the target's parts: the test pictures stay apart by the split alone
    official_splits = np.array(["train"] * len(shifted) + ["source"] * int(kept.sum()))
    return replace(
        shifted,
        labels=np.concatenate([shifted.labels, whole.labels[kept]]),
        sources=np.concatenate([shifted.sources, whole.sources[kept]]),
        official_splits=official_splits,
    )


def _array(path: Path) -> NDArray[np.generic]:
    with any_error_as(lambda why: user_error("task.data", f"{path} is not a NumPy array: {why}")):
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise user_error("task.data", f"{path} is an archive of arrays, and no NumPy array")
    return array
