"""From a picture of any size to the pixels that are kept, and from those to what a model sees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raysel.tasks.model_input import ModelInput

Pixels = NDArray[np.uint8]
"""[h, w, c]."""

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_LONGEST = 16
"""Sides of a longer picture are cut off: a strip would become gigapixels when resized."""


@dataclass(frozen=True)
class Geometry:
    """How pictures of one part are kept.

    Attributes:
        input: what the model expects.
        whole: keep the whole picture, so that random crops may fall anywhere in it, and
            never enlarge it; else keep the centre alone, at the model's size.
    """

    input: ModelInput
    whole: bool = False

    def stored(self, image: Image.Image) -> Pixels:
        """The pixels to keep of an RGB picture."""
        if self.whole and min(image.size) < self.input.shorter_side:
            return np.asarray(_without_long_ends(image))
        return self.at_size(image)

    def at_size(self, image: Image.Image) -> Pixels:
        """The same, but a small picture is enlarged even where it is kept whole: its pixels are
        then as large as those of its centre."""
        image = _without_long_ends(image)
        if not self.whole:
            return self._centre(image)
        return np.asarray(_scaled(image, self.input.shorter_side, self.resampling))

    def centre(self, pixels: Pixels) -> Pixels:
        """What a model sees in evaluation: [size, size, c] from the pixels kept."""
        size = self.input.size
        if not self.whole and pixels.shape[:2] == (size, size):
            return pixels
        return self._centre(Image.fromarray(pixels))

    def _centre(self, image: Image.Image) -> Pixels:
        size = self.input.size
        image = _scaled(image, self.input.shorter_side, self.resampling)
        # rounded as torchvision's CenterCrop does, so that pixels are those of timm's evaluation
        left, top = (round((side - size) / 2) for side in image.size)
        return np.asarray(image.crop((left, top, left + size, top + size)))

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's name of the model's interpolation."""
        return _RESAMPLING[self.input.interpolation]


def _scaled(image: Image.Image, shorter: int, resampling: Image.Resampling) -> Image.Image:
    """The whole picture with a shorter side of `shorter` pixels."""
    width, height = image.size
    least = min(width, height)
    if least == shorter:
        return image
    size = (shorter * width // least, shorter * height // least)
    return image.resize(size, resampling)


def _without_long_ends(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = _LONGEST * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = (math.ceil(max(side - longest, 0) / 2) for side in (width, height))
    return image.crop((left, top, left + min(width, longest), top + min(height, longest)))
