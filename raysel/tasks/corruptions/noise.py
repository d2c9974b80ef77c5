"""Noise: every number of an image is resampled around its value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysel.tasks.corruptions.image import Image


def gaussian_noise(image: Image, deviation: float, generator: np.random.Generator) -> NDArray[Any]:
    """Independent normal noise of one standard deviation everywhere."""
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    return image + np.float32(deviation) * noise


def shot_noise(image: Image, photons: float, generator: np.random.Generator) -> NDArray[Any]:
    """What a sensor counts that gets `photons` where the image is 1: Poisson."""
    return generator.poisson(image.astype(np.float64) * photons) / photons


def impulse_noise(image: Image, share: float, generator: np.random.Generator) -> NDArray[Any]:
    """A share of the numbers is replaced, half by 0 and half by 1 (salt and pepper)."""
    hit = generator.random(image.shape) < share
    salt = generator.random(image.shape) < 0.5
    return np.where(hit, salt.astype(image.dtype), image)


def speckle_noise(image: Image, deviation: float, generator: np.random.Generator) -> NDArray[Any]:
    """Normal noise in proportion to the brightness."""
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    return image + image * np.float32(deviation) * noise
