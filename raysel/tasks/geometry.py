"""From a picture of any size to the pixels that are kept, and from those to what a model sees."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

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
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
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
        if not self.whole:
            return self._centre(image)
        image = _without_long_ends(image)
        return np.asarray(_scaled(image, self.input.shorter_side, self.resampling))

    def centre(self, pixels: Pixels) -> Pixels:
        """What a model sees in evaluation: [size, size, c] from the pixels kept."""
        size = self.input.size
        if not self.whole and pixels.shape[:2] == (size, size):
            return pixels
        return self._centre(Image.fromarray(pixels))

    def _centre(self, image: Image.Image) -> Pixels:
        """What timm's evaluation makes of a picture: an exported model's users have that alone."""
        if self.input.crop_mode == "center":
            image = self._short_strip(image)
        elif self.input.crop_mode == "border":  # of a strip nothing would be left
            image = _without_long_ends(image)
        seen = np.asarray(_evaluation(self.input)(image))  # [c, h, w]
        return np.ascontiguousarray(seen.transpose(1, 2, 0))

    def _short_strip(self, image: Image.Image) -> Image.Image:
        """A strip as timm resizes it, but without the ends, which evaluation cuts off: resized
        as a whole it would be gigapixels."""
        sides, size, shorter = image.size, self.input.size, self.input.shorter_side
        least, longest = min(sides), _LONGEST * shorter
        if max(sides) <= _LONGEST * least:
            return image
        box = [0.0, 0.0, *map(float, sides)]
        axis = sides.index(max(sides))
        whole = shorter * sides[axis] // least
        start = round((whole - size) / 2) - round((longest - size) / 2)
        box[axis], box[axis + 2] = (
            place * sides[axis] / whole for place in (start, start + longest)
        )
        kept = (longest, shorter) if axis == 0 else (shorter, longest)
        return image.resize(kept, self.resampling, box=cast(Any, tuple(box)))

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's name of the model's interpolation."""
        return _RESAMPLING[self.input.interpolation]


@functools.lru_cache(maxsize=8)
def _evaluation(model: ModelInput) -> Callable[[Image.Image], Any]:
    """timm's own evaluation transform, up to the pixels: RGB to uint8 [c, h, w]."""
    from raysel.models import timm  # noqa: PLC0415  (slow)

    transform: Callable[[Image.Image], Any] = timm.data.create_transform(
        (3, model.size, model.size),
        is_training=False,
        interpolation=model.interpolation,
        crop_pct=model.crop_share,
        crop_mode=model.crop_mode,
        mean=model.mean,  # the colour of a border
        use_prefetcher=True,  # a prefetcher would normalise
    )
    return transform


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
