"""Parts of many pictures resized at once, on their device, as Pillow resizes one.

Horizontally, then vertically, rounded after each, with Pillow's filters and supports. The weights
are float32 where Pillow's have 22 bits, so that a few pixels differ by a grey level. Pillow shrinks
a tall part vertically first where that is cheaper, which is not followed: there pixels differ by
0.3 grey levels in the mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -0.5, as Pillow's."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _box(x: Tensor) -> Tensor:
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


def _hamming(x: Tensor) -> Tensor:
    x = x.abs()
    radians = x * math.pi
    value = torch.sinc(x) * (0.54 + 0.46 * torch.cos(radians))
    return torch.where(x < 1, value, torch.zeros_like(x))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), torch.zeros_like(x))


FILTERS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
    "box": (_box, 0.5),
    "hamming": (_hamming, 1.0),
    "lanczos": (_lanczos, 3.0),
}
"""Pillow's filters, but for `nearest`, and the support of each."""


def weights(starts: Tensor, ends: Tensor, length: int, size: int, interpolation: str) -> Tensor:
    """How much each source pixel counts in each target pixel, along one axis.

    Args:
        starts, ends: int [m] of the part that is resized.
        length: pixels of the whole source.
        size: pixels of the target.

    Returns:
        float32 [m, size, length]; rows add up to 1, 0 outside the part.
    """
    kernel, support = FILTERS[interpolation]
    start = starts.to(torch.float64)[:, None]
    scale = (ends.to(torch.float64)[:, None] - start) / size
    wide = scale.clamp(min=1.0)
    places = torch.arange(size, device=starts.device, dtype=torch.float64)
    centre = (places + 0.5) * scale  # [m, size], from the part's start
    reach = support * wide
    first = (centre - reach + 0.5).trunc().clamp(min=0)
    last = torch.minimum((centre + reach + 0.5).trunc(), ends[:, None] - start)
    pixel = torch.arange(length, device=starts.device, dtype=torch.float64)
    own = pixel[None, None] - start[:, :, None]  # [m, 1, length], from the part's start
    value = kernel((own - centre[:, :, None] + 0.5) / wide[:, :, None])
    inside = (own >= first[:, :, None]) & (own < last[:, :, None])
    value = torch.where(inside, value, torch.zeros_like(value))
    return (value / value.sum(dim=2, keepdim=True)).to(torch.float32)


def resized_crops(pictures: Tensor, boxes: Tensor, size: int, interpolation: str) -> Tensor:
    """A part of each picture, resized to a square.

    Args:
        pictures: uint8 [m, h, w, c], padded where they differ in size.
        boxes: int [m, 4], of each part left, top, right and bottom.
        interpolation: one of `FILTERS`.

    Returns:
        uint8 [m, size, size, c].
    """
    height, width = pictures.shape[1:3]
    left, top, right, bottom = boxes.unbind(1)
    across = weights(left, right, width, size, interpolation)
    down = weights(top, bottom, height, size, interpolation)
    images = pictures.permute(0, 3, 1, 2).to(torch.float32)  # [m, c, h, w]
    with _whole_float32():
        rows = _rounded(torch.matmul(images, across.transpose(1, 2)[:, None]))
        both = _rounded(torch.matmul(down[:, None], rows))
    return both.to(torch.uint8).permute(0, 2, 3, 1)


def _rounded(values: Tensor) -> Tensor:
    return values.add_(0.5).floor_().clamp_(0, 255)


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Without TF32, whose 10 bits of mantissa are less than a grey level's share."""
    backend: Any = torch.backends.cuda.matmul
    before = backend.allow_tf32
    backend.allow_tf32 = False
    try:
        yield
    finally:
        backend.allow_tf32 = before
