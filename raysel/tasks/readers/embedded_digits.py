"""scikit-learn's digits: 1,797 handwritten digits of 8x8 pixels that come with the package.

Each pixel is repeated in a 2x2 block (nearest neighbour), which gives 16x16: nothing is
invented between the pixels, and a small network's strides still leave something to see.

`digits_edges` adds two channels that differ in kind from the first, so that permuting the
channels is a shift of the input that a network has to undo (on grey images it would be none).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from raysel.tasks.data import Dataset, Images, Indices

_SCALE = 2
_BRIGHTEST = 16.0  # grey levels are 0 .. 16


def digits() -> Dataset:
    """Grey images [1, 16, 16]."""
    grey, labels = _read()
    return _dataset(grey[:, None], labels)


def digits_edges() -> Dataset:
    """Images [3, 16, 16]: grey, horizontal difference, vertical difference.

    A difference d of neighbouring 8x8 pixels (0 beyond the border) is in [-1, 1] and is
    stored as (1 + d) / 2: values stay in [0, 1], and inverting or flattening an image does
    to its edges what it would do if they were taken afterwards.
    """
    grey, labels = _read()
    channels = [grey, _difference(grey, axis=2), _difference(grey, axis=1)]
    return _dataset(np.stack(channels, axis=1), labels)


def _read() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Grey images [n, 8, 8] in [0, 1] and labels [n]."""
    bunch = load_digits()
    return (bunch.images / _BRIGHTEST).astype(np.float32), bunch.target.astype(np.int64)


def _difference(grey: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """(1 + right (or lower) neighbour - pixel) / 2, of the shape of `grey`."""
    border = np.take(grey, [-1], axis=axis)
    change = np.diff(grey, axis=axis, append=border)
    return np.float32(0.5) * (1 + change)


def _dataset(small: Images, labels: NDArray[np.int64]) -> Dataset:
    """From all 8x8 images [n, c, 8, 8]."""

    def load_images(indices: Indices) -> Images:
        return small[indices].repeat(_SCALE, axis=2).repeat(_SCALE, axis=3)

    channels, height, width = small.shape[1:]
    return Dataset(
        classes=tuple("0123456789"),
        labels=labels,
        channels=channels,
        image_size=(height * _SCALE, width * _SCALE),
        load_images=load_images,
    )
