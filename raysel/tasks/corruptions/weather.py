"""Weather: something is before the camera."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysel.common.deferred import Deferred
from raysel.tasks.corruptions.image import (
    Image,
    Layer,
    cut_to,
    dragged,
    grey,
    painted,
    smoothed,
    zoomed,
)

ndimage = Deferred("scipy.ndimage")

_ICE = (214, 233, 255)
_WATER = (175, 238, 238)
_MUD = (63, 42, 20)


def frost(
    image: Image, image_share: float, ice_share: float, generator: np.random.Generator
) -> NDArray[Any]:
    """Ice crystals on the pane, added to a dimmed image.

    The published images take the crystals from six photographs; here each image gets a
    pattern of its own, drawn from ridges of noise on several scales.
    """
    height, width, channels = image.shape
    ice = _crystals(height, width, generator)[..., None] * painted(_ICE, channels)
    return np.float32(image_share) * image + np.float32(ice_share) * ice


def snow(
    image: Image,
    mean: float,
    deviation: float,
    size: float,
    threshold: float,
    radius: int,
    sigma: float,
    image_share: float,
    generator: np.random.Generator,
) -> NDArray[Any]:
    """Falling flakes: the brightest parts of enlarged noise, dragged downwards, over a paler
    image; each flake falls once more on the opposite side."""
    height, width, _ = image.shape
    noise = generator.normal(mean, deviation, (height, width)).astype(np.float32)
    flakes = cut_to(zoomed(noise, size), height, width)
    flakes = np.where(flakes < threshold, np.float32(0), np.clip(flakes, 0, 1))
    flakes = dragged(flakes, radius, sigma, generator.uniform(-135, -45))[..., None]
    pale = np.maximum(image, grey(image) * 1.5 + 0.5)
    image = np.float32(image_share) * image + np.float32(1 - image_share) * pale
    return image + flakes + flakes[::-1, ::-1]


def spatter(
    image: Image,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    is_mud: bool,
    generator: np.random.Generator,
) -> NDArray[Any]:
    """Drops on the lens, where smoothed noise exceeds a threshold: water, or mud.

    Args:
        strength: of water how bright its brightest drop is; of mud by how many pixels its
            drops are smoothed.
    """
    height, width, channels = image.shape
    noise = generator.normal(mean, deviation, (height, width)).astype(np.float32)
    noise = smoothed(noise, sigma)
    wet = noise > threshold
    if is_mud:
        mud = smoothed(wet.astype(np.float32), strength)[..., None]
        mud = np.where(mud < 0.8, np.float32(0), mud)
        return image * (1 - mud) + mud * painted(_MUD, channels)
    drops = np.where(wet, noise, 0) * _lit(wet)
    brightest = max(float(drops.max()), 1e-6)
    water = np.float32(strength / brightest) * drops[..., None]
    return image + water * painted(_WATER, channels)


def _crystals(height: int, width: int, generator: np.random.Generator) -> Layer:
    """Ridges of noise at 4, 8, 16, ... cells a side, the finer the fainter, in [0, 1]."""
    total = np.zeros((height, width), np.float32)
    cells, weight = 4, 1.0
    while cells <= max(4, min(height, width)):
        coarse = generator.standard_normal((cells, cells)).astype(np.float32)
        scale = (height / cells, width / cells)
        fine = ndimage.zoom(coarse, scale, order=1, mode="nearest", grid_mode=True)
        total += np.float32(weight) * np.exp(-2 * np.abs(fine[:height, :width]))
        cells, weight = 2 * cells, 0.7 * weight
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def _lit(wet: NDArray[np.bool_]) -> Layer:
    """How a drop shines: a relief of the distance to its rim, lit from one side, in [0, 1]."""
    rim = wet & ~ndimage.binary_erosion(wet)
    if not rim.any():
        return np.zeros(wet.shape, np.float32)
    distance = np.minimum(ndimage.distance_transform_edt(~rim), 20)
    relief = _equalised(ndimage.uniform_filter(distance, 3, mode="nearest"))
    slope = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float64)
    lit = np.clip(ndimage.correlate(relief, slope, mode="nearest"), 0, 1)
    return ndimage.uniform_filter(lit, 3, mode="nearest").astype(np.float32)


def _equalised(values: NDArray[Any]) -> NDArray[Any]:
    """Each value's share of values that are not larger: an even spread over [0, 1]."""
    order = np.sort(values, axis=None)
    return np.searchsorted(order, values, side="right") / order.size
