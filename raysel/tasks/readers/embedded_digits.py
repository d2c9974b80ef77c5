"""scikit-learn's digits: 1,797 handwritten digits of 8x8 pixels that come with the package.

Each pixel is repeated in a 2x2 block (nearest neighbour), which gives 16x16: nothing is
invented between the pixels, and a small network's strides still leave something to see.

`digits_edges` adds two channels that differ in kind from the first, so that permuting the
channels is a shift of the input that a network has to undo (on grey images it would be none).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysel.tasks.data import Dataset, Images, Indices

_SCALE = 2
_BRIGHTEST = 16.0  # grey levels are 0 .. 16
_FILE = "datasets/data/digits.csv.gz"  # 64 pixels and the label a line


def digits() -> Dataset:
    """Grey images [1, 16, 16]."""
    grey, labels = grey_digits()
    return _dataset(grey[:, None], labels)


def digits_edges() -> Dataset:
    """Images [3, 16, 16]: grey, horizontal difference, vertical difference.

    A difference d of neighbouring 8x8 pixels (0 beyond the border) is in [-1, 1] and is
    stored as (1 + d) / 2: values stay in [0, 1], and inverting or flattening an image does
    to its edges what it would do if they were taken afterwards.
    """
    grey, labels = grey_digits()
    channels = [grey, _difference(grey, axis=2), _difference(grey, axis=1)]
    return _dataset(np.stack(channels, axis=1), labels)


def grey_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Grey images [n, 8, 8] in [0, 1] and labels [n]."""
    table = _table()
    images = table[:, :-1].reshape(-1, 8, 8)
    return (images / _BRIGHTEST).astype(np.float32), table[:, -1].astype(np.int64)


def _table() -> NDArray[np.float64]:
    """The file of scikit-learn, whose import takes a second, read without it."""
    package = find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        if (file := Path(folder) / _FILE).is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # noqa: PLC0415  (where it has moved the file)

    images, labels = load_digits(return_X_y=True)
    return np.column_stack([images, labels])


def _difference(grey: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """(1 + right (or lower) neighbour - pixel) / 2, of the shape of `grey`."""
    border = np.take(grey, [-1], axis=axis)
    change = np.diff(grey, axis=axis, append=border)
    return np.float32(0.5) * (1 + change)


def enlarged(small: Images) -> Images:
    """Each pixel of images [n, c, h, w] as a block of 2 x 2."""
    return small.repeat(_SCALE, axis=2).repeat(_SCALE, axis=3)


def _dataset(small: Images, labels: NDArray[np.int64]) -> Dataset:
    """From all 8x8 images [n, c, 8, 8]."""

    def load_images(indices: Indices) -> Images:
        return enlarged(small[indices])

    channels, height, width = small.shape[1:]
    return Dataset(
        classes=tuple("0123456789"),
        labels=labels,
        channels=channels,
        image_size=(height * _SCALE, width * _SCALE),
        load_images=load_images,
    )
