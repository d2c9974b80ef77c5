"""What all corruptions share: the type of an image, and sampling it elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysel.common.deferred import Deferred

ndimage = Deferred("scipy.ndimage")

Image = NDArray[np.float32]
"""[h, w, c], values in [0, 1]."""

Layer = NDArray[np.float32]
"""[h, w]: what is over every channel of an image alike."""

Corruption = Callable[..., NDArray[Any]]
"""(image, *parameters, generator) -> image."""


def smoothed(image: NDArray[Any], sigma: float) -> NDArray[Any]:
    """A Gaussian blur of `sigma` pixels along the first two axes; the border is repeated."""
    sigmas = (sigma, sigma, *([0.0] * (image.ndim - 2)))
    return ndimage.gaussian_filter(image, sigmas, mode="nearest")


def zoomed(image: NDArray[Any], factor: float) -> NDArray[Any]:
    """The middle of an image [h, w, ...], `factor` >= 1 times as large: at least the old size."""
    for axis in (0, 1):
        size = image.shape[axis]
        image = _middle(image, axis, math.ceil(size / factor))
    scale = (factor, factor, *([1.0] * (image.ndim - 2)))
    return ndimage.zoom(image, scale, order=1, mode="nearest")


def cut_to(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The middle [height, width, ...] of an image that is at least as large."""
    return _middle(_middle(image, 0, height), 1, width)


def dragged(image: NDArray[Any], radius: int, sigma: float, degrees: float) -> NDArray[Any]:
    """A trail behind every pixel, as a camera that moves leaves it.

    Pixel p becomes the mean of the 2 `radius` + 1 pixels p, p + u, p + 2u, ... in the
    direction u of `degrees` (0 is to the right), weighted by a half Gaussian of `sigma`
    pixels; the border is repeated.
    """
    height, width = image.shape[:2]
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    across = np.rint(steps * math.cos(math.radians(degrees))).astype(int)
    down = np.rint(steps * math.sin(math.radians(degrees))).astype(int)
    trail = np.zeros_like(image)
    for weight, x, y in zip(weights.astype(image.dtype), across, down, strict=True):
        rows = np.clip(np.arange(height) + y, 0, height - 1)
        columns = np.clip(np.arange(width) + x, 0, width - 1)
        trail += weight * image[rows[:, None], columns]
    return trail


def painted(colour: tuple[int, int, int], channels: int) -> NDArray[np.float32]:
    """A colour (red, green, blue, 0 .. 255) as [channels] in [0, 1]; grey where there are not 3."""
    values = np.array(colour) / 255
    return (values if channels == 3 else np.full(channels, values.mean())).astype(np.float32)


def grey(image: Image) -> NDArray[Any]:
    """The brightness [h, w, 1]: ITU-R 601 of three channels, else their mean."""
    if image.shape[2] == 3:
        return (image @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return image.mean(axis=2, keepdims=True)


def _middle(image: NDArray[Any], axis: int, size: int) -> NDArray[Any]:
    start = (image.shape[axis] - size) // 2
    return np.take(image, np.arange(start, start + size), axis=axis)
