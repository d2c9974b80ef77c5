"""How the target differs from the source: one small function a shift, found by its kind.

A shift of the input acts on one image [c, h, w] in [0, 1] and stays in [0, 1]; a shift of
the output acts on one label. What happens to an example depends on the seed and on its place
in its data set, and on nothing else: not on the split that it falls into.

The corruptions of CIFAR-10-C and ImageNet-C are in `raysel.tasks.corruptions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from raysel.spec.sweep import ShiftSpec
from raysel.tasks.corruptions import CORRUPTIONS
from raysel.tasks.corruptions.severity import parameters
from raysel.tasks.data import Examples, Indices, Labels

Image = NDArray[np.float32]
"""[c, h, w], values in [0, 1]."""

ImageShift = Callable[[Image, int, np.random.Generator, float], Image]
"""From an image, a severity 1 .. 5, the image's own generator and the pixels a side that the
severity is chosen for to the shifted image."""

LabelShift = Callable[[int, int, int, np.random.Generator], int]
"""From a label, the number of classes, a severity 1 .. 5 and the example's own generator to
the shifted label."""


@dataclass(frozen=True)
class Shift:
    """What a kind of shift does to an example, and how many channels it needs."""

    of_image: ImageShift | None = None
    of_label: LabelShift | None = None
    min_channels: int = 1


SHIFTS: dict[str, Shift] = {"none": Shift()}
"""Every shift by its kind."""


def shift_examples(
    examples: Examples, indices: Indices, shift: ShiftSpec, seed: int, class_count: int
) -> Examples:
    """Apply a shift to a part of a data set.

    Args:
        examples: n examples; they are left as they are.
        indices: [n] their places in the data set.
        shift: kind and severity; the kind is one of `SHIFTS`.
        seed: of everything drawn.
        class_count: classes of the data set.
    """
    of_image, images = SHIFTS[shift.kind].of_image, examples.images
    if of_image is not None and len(images):
        side = math.sqrt(images.shape[2] * images.shape[3])
        images = np.stack(
            [
                of_image(image, shift.severity, _generator(seed, index), side)
                for image, index in zip(images, indices, strict=True)
            ]
        )
    labels = shift_labels(examples.labels, indices, shift, seed, class_count)
    return Examples(images, labels, examples.groups)


def shift_pixels(
    pixels: NDArray[np.uint8], index: int, shift: ShiftSpec, seed: int, side: float
) -> NDArray[np.uint8]:
    """Apply a shift to one stored image; labels are `shift_labels`'s.

    Args:
        pixels: [h, w, c]; left as it is.
        index: the image's place in its data set.
        shift: kind and severity; the kind is one of `SHIFTS`.
        seed: of everything drawn.
        side: pixels a side that the severity is chosen for: the model's, that of a whole
            picture and of its centre alike.

    Returns:
        [h, w, c], rounded to the nearest of the 256 values; `pixels` itself where the shift
        is none of the input.
    """
    of_image = SHIFTS[shift.kind].of_image
    if of_image is None:
        return pixels
    image = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    shifted = of_image(image, shift.severity, _generator(seed, index), side)
    return np.ascontiguousarray(np.rint(shifted * 255).astype(np.uint8).transpose(1, 2, 0))


def shift_labels(
    labels: Labels, indices: Indices, shift: ShiftSpec, seed: int, class_count: int
) -> Labels:
    """The shifted labels [n] of n examples; for the arguments see `shift_examples`."""
    of_label = SHIFTS[shift.kind].of_label
    if of_label is None:
        return labels
    shifted = [
        of_label(int(label), class_count, shift.severity, _generator(seed, index))
        for label, index in zip(labels, indices, strict=True)
    ]
    return np.array(shifted, np.int64)


def register_image_shift(min_channels: int = 1) -> Callable[[ImageShift], ImageShift]:
    """Register a shift of the input under its function's name."""

    def register(function: ImageShift) -> ImageShift:
        SHIFTS[function.__name__] = Shift(of_image=function, min_channels=min_channels)
        return function

    return register


def register_label_shift(function: LabelShift) -> LabelShift:
    """Register a shift of the output under its function's name."""
    SHIFTS[function.__name__] = Shift(of_label=function)
    return function


def _generator(seed: int, index: int | np.int64) -> np.random.Generator:
    """The example's own randomness."""
    return np.random.default_rng([seed, int(index)])


def _corrupted(
    kind: str, image: Image, severity: int, generator: np.random.Generator, side: float
) -> Image:
    arguments = parameters(kind, severity, side)
    corrupted = CORRUPTIONS[kind](
        np.ascontiguousarray(image.transpose(1, 2, 0)), *arguments, generator
    )
    corrupted = np.clip(corrupted.transpose(2, 0, 1), 0, 1)
    return np.ascontiguousarray(corrupted, dtype=np.float32)


SHIFTS.update(
    (kind, Shift(partial(_corrupted, kind), min_channels=3 if kind == "saturate" else 1))
    for kind in CORRUPTIONS
)


@register_image_shift()
def contrast(image: Image, severity: int, generator: np.random.Generator, side: float) -> Image:
    """Draw each channel towards its own mean: 75 % (severity 1) to 15 % (5) is left."""
    left = np.float32(0.9 - 0.15 * severity)
    mean = image.mean(axis=(1, 2), keepdims=True)
    # a mean of rounded numbers may leave the range by one last digit
    return np.clip(mean + left * (image - mean), 0, 1)


@register_image_shift()
def inversion(image: Image, severity: int, generator: np.random.Generator, side: float) -> Image:
    """1 - x, at every severity."""
    return 1 - image


@register_image_shift(min_channels=3)
def channel_permutation(
    image: Image, severity: int, generator: np.random.Generator, side: float
) -> Image:
    """The first three channels in the order 2, 0, 1, at every severity; others stay."""
    return np.concatenate([image[[2, 0, 1]], image[3:]])


@register_label_shift
def label_flip(label: int, class_count: int, severity: int, generator: np.random.Generator) -> int:
    """y -> C - 1 - y for C classes, at every severity (CIFAR-10F)."""
    return class_count - 1 - label


@register_label_shift
def label_noise(label: int, class_count: int, severity: int, generator: np.random.Generator) -> int:
    """One label in ten (severity 1) to one in two (5) becomes another class, any alike."""
    if class_count < 2 or generator.random() >= 0.1 * severity:
        return label
    return (label + int(generator.integers(1, class_count))) % class_count
