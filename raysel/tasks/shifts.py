"""How the target differs from the source: one small function a shift, found by its kind.

A shift of the input acts on one image [c, h, w] in [0, 1] and stays in [0, 1]; a shift of
the output acts on labels. What happens to an image depends on the seed and on the image's
place in its data set, and on nothing else: not on the split that it falls into.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysel.spec import ShiftSpec
from raysel.tasks.data import Examples, Indices, Labels

Image = NDArray[np.float32]
"""[c, h, w], values in [0, 1]."""

ImageShift = Callable[[Image, int, np.random.Generator], Image]
"""From an image, a severity 1 .. 5 and the image's own generator to the shifted image."""

LabelShift = Callable[[Labels, int], Labels]
"""From labels [n] and the number of classes to the shifted labels [n]."""


@dataclass(frozen=True)
class Shift:
    """What a kind of shift does to an example, and how many channels it needs."""

    of_image: ImageShift | None = None
    of_labels: LabelShift | None = None
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
    found = SHIFTS[shift.kind]
    images, labels = examples.images, examples.labels
    if found.of_image is not None and len(images):
        images = np.stack(
            [
                found.of_image(image, shift.severity, np.random.default_rng([seed, int(index)]))
                for image, index in zip(images, indices, strict=True)
            ]
        )
    if found.of_labels is not None:
        labels = found.of_labels(labels, class_count)
    return Examples(images, labels)


def register_image_shift(min_channels: int = 1) -> Callable[[ImageShift], ImageShift]:
    """Register a shift of the input under its function's name."""

    def register(function: ImageShift) -> ImageShift:
        SHIFTS[function.__name__] = Shift(of_image=function, min_channels=min_channels)
        return function

    return register


def register_label_shift(function: LabelShift) -> LabelShift:
    """Register a shift of the output under its function's name."""
    SHIFTS[function.__name__] = Shift(of_labels=function)
    return function


@register_image_shift()
def gaussian_noise(image: Image, severity: int, generator: np.random.Generator) -> Image:
    """Independent noise of standard deviation 0.1 (severity 1) to 0.5 (5), then clipped."""
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + np.float32(0.1 * severity) * noise, 0, 1)


@register_image_shift()
def contrast(image: Image, severity: int, generator: np.random.Generator) -> Image:
    """Draw each channel towards its own mean: 75 % (severity 1) to 15 % (5) is left."""
    left = np.float32(0.9 - 0.15 * severity)
    mean = image.mean(axis=(1, 2), keepdims=True)
    # a mean of rounded numbers may leave the range by one last digit
    return np.clip(mean + left * (image - mean), 0, 1)


@register_image_shift()
def inversion(image: Image, severity: int, generator: np.random.Generator) -> Image:
    """1 - x, at every severity."""
    return 1 - image


@register_image_shift(min_channels=3)
def channel_permutation(image: Image, severity: int, generator: np.random.Generator) -> Image:
    """The first three channels in the order 2, 0, 1, at every severity; others stay."""
    return np.concatenate([image[[2, 0, 1]], image[3:]])


@register_label_shift
def label_flip(labels: Labels, class_count: int) -> Labels:
    """y -> C - 1 - y for C classes, at every severity."""
    return class_count - 1 - labels
