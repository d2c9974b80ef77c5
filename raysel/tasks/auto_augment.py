"""torchvision's RandAugment (Cubuk et al., 2020) and TrivialAugment (Müller and Hutter, 2021).

Operations, magnitudes and the order of what is drawn are torchvision's, with its defaults. Its own
classes draw from torch's global random numbers, which threads that read ahead would share: here
each picture has a generator of its own (docs/algorithms.md, D63).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from raysel.common.deferred_torch import torch
from raysel.tasks.geometry import Pixels

_Space = tuple[tuple[str, tuple[float, ...], bool], ...]
"""Each operation: its name, the magnitudes that it may have, and whether they have a sign."""


def auto_augmented(policy: str, pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """A picture [h, w, 3] after a policy of the sweep file; `none` takes it as it is."""
    if policy == "none":
        return pixels
    drawn = torch.Generator().manual_seed(int(generator.integers(2**63)))
    image = Image.fromarray(pixels)
    operations = _OPERATIONS[policy]
    return np.asarray(operations(image, drawn))


def rand_augment(image: Image.Image, drawn: Any) -> Image.Image:
    """torchvision's `RandAugment()`, from a torch generator."""
    policy = _torchvision().RandAugment()
    width, height = image.size
    space = _space("RandAugment", policy.num_magnitude_bins, (height, width))
    for _ in range(policy.num_ops):
        name, magnitudes, signed = space[_below(len(space), drawn)]
        magnitude = magnitudes[policy.magnitude] if len(magnitudes) > 1 else 0.0
        image = _applied(image, name, magnitude, signed, drawn)
    return image


def trivial_augment(image: Image.Image, drawn: Any) -> Image.Image:
    """torchvision's `TrivialAugmentWide()`, from a torch generator."""
    space = _space("TrivialAugmentWide", _torchvision().TrivialAugmentWide().num_magnitude_bins)
    name, magnitudes, signed = space[_below(len(space), drawn)]
    magnitude = magnitudes[_below(len(magnitudes), drawn)] if len(magnitudes) > 1 else 0.0
    return _applied(image, name, magnitude, signed, drawn)


_OPERATIONS = {"rand_augment": rand_augment, "trivial_augment": trivial_augment}


def _applied(
    image: Image.Image, name: str, magnitude: float, signed: bool, drawn: Any
) -> Image.Image:
    if signed and _below(2, drawn):
        magnitude = -magnitude
    module = _torchvision()
    found: Image.Image = module._apply_op(
        image, name, magnitude, interpolation=module.InterpolationMode.NEAREST, fill=None
    )
    return found


def _below(end: int, drawn: Any) -> int:
    """A whole number from 0, as torchvision draws it."""
    return int(torch.randint(end, (1,), generator=drawn))


@lru_cache(maxsize=64)
def _space(name: str, bins: int, *size: tuple[int, int]) -> _Space:
    """What torchvision's class of that name may do to a picture of a height and width."""
    found = getattr(_torchvision(), name)()._augmentation_space(bins, *size)
    return tuple(
        (operation, tuple(map(float, magnitudes.reshape(-1))), signed)
        for operation, (magnitudes, signed) in found.items()
    )


@lru_cache(maxsize=1)
def _torchvision() -> Any:
    from raysel.common.torchvision_compat import ensure_importable  # noqa: PLC0415

    ensure_importable()
    from torchvision.transforms import autoaugment  # noqa: PLC0415  (slow, and seldom needed)

    return autoaugment
