"""Digital: what storing, sending and developing an image does to it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from raysel.tasks.corruptions.image import Image


def jpeg_compression(image: Image, quality: int, generator: np.random.Generator) -> NDArray[Any]:
    """Saved as JPEG of a quality (1 .. 95) and read again; other than three channels one by one."""
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if pixels.shape[2] == 3:
        return _through_jpeg(pixels, quality) / np.float32(255)
    channels = [_through_jpeg(pixels[..., i], quality) for i in range(pixels.shape[2])]
    return np.stack(channels, axis=2) / np.float32(255)


def pixelate(image: Image, scale: float, generator: np.random.Generator) -> NDArray[Any]:
    """Made `scale` times as large by box means, and large again by repeating pixels."""
    height, width, channels = image.shape
    small = (max(int(width * scale), 1), max(int(height * scale), 1))
    return np.stack(
        [
            np.asarray(
                Picture.fromarray(np.ascontiguousarray(image[..., i], np.float32))
                .resize(small, Picture.Resampling.BOX)
                .resize((width, height), Picture.Resampling.BOX)
            )
            for i in range(channels)
        ],
        axis=2,
    )


def saturate(
    image: Image, factor: float, offset: float, generator: np.random.Generator
) -> NDArray[Any]:
    """The saturation S of the hue-saturation-value model becomes factor S + offset, in [0, 1].

    Value and hue stay: with V the largest channel, V - x is in proportion to S. A grey pixel
    has the hue 0, so an offset turns it red. Channels beyond the third stay.
    """
    colours = image[..., :3]
    value = colours.max(axis=2, keepdims=True)
    spread = value - colours.min(axis=2, keepdims=True)
    saturation = spread / np.maximum(value, np.float32(1e-6))
    wanted = np.clip(saturation * factor + offset, 0, 1)
    red = np.array([0, 1, 1], np.float32)
    direction = np.where(spread > 0, (value - colours) / np.maximum(spread, 1e-6), red)
    return np.concatenate([value - value * wanted * direction, image[..., 3:]], axis=2)


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """[h, w] or [h, w, 3], coded and decoded."""
    file = BytesIO()
    Picture.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Picture.open(file) as picture:
        return np.asarray(picture)
