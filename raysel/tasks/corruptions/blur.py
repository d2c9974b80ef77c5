"""Blur: every pixel becomes a mean of pixels nearby."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysel.tasks.corruptions.image import Image, cut_to, dragged, smoothed, zoomed


def gaussian_blur(image: Image, sigma: float, generator: np.random.Generator) -> NDArray[Any]:
    """Out of focus: a Gaussian of `sigma` pixels."""
    return smoothed(image, sigma)


def glass_blur(
    image: Image, sigma: float, reach: int, rounds: int, generator: np.random.Generator
) -> NDArray[Any]:
    """Seen through frosted glass: between two slight blurs, pixels change places.

    In each round every pixel that is `reach` or more from the border takes the value of
    one up to `reach` pixels above, `reach` - 1 below, and likewise to the sides.
    """
    height, width, _ = image.shape
    rows = np.arange(reach, height - reach + 1)
    columns = np.arange(reach, width - reach + 1)
    shuffled = smoothed(image, sigma)
    for _ in range(rounds):
        down, right = generator.integers(-reach, reach, size=(2, len(rows), len(columns)))
        shuffled[reach : height - reach + 1, reach : width - reach + 1] = shuffled[
            rows[:, None] + down, columns + right
        ]
    return smoothed(shuffled, sigma)


def motion_blur(
    image: Image, radius: int, sigma: float, generator: np.random.Generator
) -> NDArray[Any]:
    """The camera moved, in a direction within 45 degrees of the horizontal."""
    return dragged(image, radius, sigma, generator.uniform(-45, 45))


def zoom_blur(
    image: Image, end: float, step: float, generator: np.random.Generator
) -> NDArray[Any]:
    """The camera moved forward: the mean of the image and of its enlargements 1, 1 + step, ...
    below `end`."""
    factors = np.arange(1, end, step)
    height, width, _ = image.shape
    total = image.astype(np.float64)
    for factor in factors:
        total += cut_to(zoomed(image, float(factor)), height, width)
    return total / (len(factors) + 1)
