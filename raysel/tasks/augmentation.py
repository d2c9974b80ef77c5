"""What training does to pictures, again in every epoch.

Each augmentation is a function of the pixels kept and of a generator that is drawn from
(the trial's seed, the epoch, the picture's place in its data set): a resumed trial sees the
very pictures that it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from raysel.common.deferred_torch import functional, torch
from raysel.tasks.geometry import Geometry, Pixels

Augment = Callable[[Pixels, Geometry, np.random.Generator], Pixels]
"""From the pixels kept [h, w, c] to what the model sees [size, size, c]."""

NEEDS_WHOLE = frozenset({"random_resized_crop"})
"""Augmentations that cut from the whole picture."""

_FILTERS_OF_TORCH = frozenset({"bilinear", "bicubic"})
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10


def flip(pixels: Pixels, geometry: Geometry, generator: np.random.Generator) -> Pixels:
    """The centre, mirrored left to right half the time."""
    return _mirrored(geometry.centre(pixels), generator)


def random_crop(pixels: Pixels, geometry: Geometry, generator: np.random.Generator) -> Pixels:
    """The centre, moved by up to an eighth of its size over a black border, then `flip`:
    CIFAR's usual augmentation (4 of 32 pixels)."""
    size = geometry.input.size
    border = border_of(size)
    padded = np.pad(geometry.centre(pixels), ((border, border), (border, border), (0, 0)))
    top, left = crop_place(size, generator)
    return _mirrored(padded[top : top + size, left : left + size], generator)


def border_of(size: int) -> int:
    """Pixels of the border of `random_crop`."""
    return size // 8


def crop_place(size: int, generator: np.random.Generator) -> tuple[int, int]:
    """Top and left of what `random_crop` cuts, counted from the border's outer edge."""
    top, left = generator.integers(0, 2 * border_of(size), size=2, endpoint=True)
    return int(top), int(left)


def random_resized_crop(
    pixels: Pixels, geometry: Geometry, generator: np.random.Generator
) -> Pixels:
    """A part of 8 to 100 % of the picture's area and a ratio of 3/4 to 4/3, resized, then
    `flip`: what the BVG-LS paper trains with (torchvision's RandomResizedCrop and its defaults).
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = crop_box(width, height, generator)
    return _mirrored(_resized(pixels[top:bottom, left:right], geometry), generator)


def _resized(part: Pixels, geometry: Geometry) -> Pixels:
    """[size, size, c]: by torch where it has the filter for uint8, in a third of Pillow's time and
    within two grey levels of it, the same on every processor; else by Pillow."""
    size, interpolation = geometry.input.size, geometry.input.interpolation
    if interpolation not in _FILTERS_OF_TORCH:
        return np.asarray(Image.fromarray(part).resize((size, size), geometry.resampling))
    images = torch.from_numpy(part.copy())[None].permute(0, 3, 1, 2)  # no read-only memory is taken
    resized = functional.interpolate(images, (size, size), mode=interpolation, antialias=True)
    return resized.permute(0, 2, 3, 1)[0].numpy()


def crop_box(width: int, height: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a random part; the centre where ten draws do not fit."""
    for _ in range(_TRIES):
        area = width * height * generator.uniform(*_AREA)
        ratio = math.exp(generator.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(generator.integers(0, width - w, endpoint=True))
            top = int(generator.integers(0, height - h, endpoint=True))
            return left, top, left + w, top + h
    w, h = width, height
    if width < height * _RATIO[0]:
        h = round(width / _RATIO[0])
    elif width > height * _RATIO[1]:
        w = round(height * _RATIO[1])
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


AUGMENTATIONS: dict[str, Augment] = {
    function.__name__: function for function in (flip, random_crop, random_resized_crop)
}
"""Every augmentation by its name in the sweep file; `none` is the centre as it is."""

VIEWS = {"none": 1, "flip": 2}
"""In how many ways training may see a picture, by the augmentation; with any other one every epoch
has its own."""


def is_mirrored(generator: np.random.Generator) -> bool:
    """Whether a picture is mirrored: an augmentation's last draw, and the only one of `flip`."""
    return bool(generator.random() < 0.5)


def _mirrored(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    if not is_mirrored(generator):
        return pixels
    # a view of NumPy's is slow to copy, and torch's flip starts threads in each that reads ahead
    return np.asarray(Image.fromarray(pixels).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
