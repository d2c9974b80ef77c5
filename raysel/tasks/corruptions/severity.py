"""How strong each severity is: the published parameters, by the size of the image.

Severities 1 .. 5 of CIFAR-10-C stand for images of 32 pixels and those of ImageNet-C for 224;
an image takes the row of the size that is nearer by its ratio. No paper has parameters for
smaller images than 32 pixels; they take CIFAR-10-C's, but for Gaussian noise, which the
digits (16 pixels, black on white) would not notice.

A higher severity is farther from the clean image. The published rows do not always keep to
that (frost dims what it brightens, CIFAR-10-C's saturation falls before it rises, its glass
blur and spatter go up and down): there the rows marked `own` are raysel's, chosen on 100
photographs of CIFAR-10. Severity 5, the one that the papers tune under, is always the published
row.

The numbers of a severity are the arguments of the corruption's function.
"""

from __future__ import annotations

import math
from typing import Any

Levels = tuple[tuple[Any, ...], ...]
"""For each severity 1 .. 5 the parameters."""

BETWEEN = math.sqrt(32 * 224)
"""Pixels a side from which ImageNet-C's parameters are nearer: about 85."""

SMALLEST = 32
"""Pixels a side of the smallest images that a paper has parameters for."""

CIFAR_10_C: dict[str, Levels] = {
    "gaussian_noise": ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
    "shot_noise": ((500,), (250,), (100,), (75,), (50,)),
    "impulse_noise": ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
    "speckle_noise": ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)),
    "gaussian_blur": ((0.4,), (0.6,), (0.7,), (0.8,), (1.0,)),
    "glass_blur": ((0.05, 1, 1), (0.8, 1, 1), (0.7, 1, 2), (0.5, 1, 2), (0.4, 1, 2)),  # own 2 .. 4
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2.25), (9, 2.5)),  # own 4
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "frost": ((0.95, 0.09), (0.9, 0.18), (0.85, 0.27), (0.8, 0.36), (0.75, 0.45)),  # own 1 .. 4
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.63, 0.1, 0.7, 0.7, 0.5, False),  # own
        (0.65, 0.1, 0.7, 0.69, 0.6, True),  # published as 4
        (0.65, 0.1, 0.5, 0.685, 0.6, True),  # own
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    "saturate": ((1.25, 0), (1.5, 0), (1.75, 0.05), (2, 0.1), (2.5, 0.2)),  # own 1 .. 3
    "jpeg_compression": ((80,), (65,), (58,), (50,), (40,)),
    "pixelate": ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
}

IMAGENET_C: dict[str, Levels] = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    "speckle_noise": ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,)),
    "gaussian_blur": ((1,), (2,), (3,), (4,), (6,)),
    "glass_blur": ((0.7, 1, 1), (0.9, 2, 1), (1, 2, 2), (1.1, 3, 2), (1.5, 4, 2)),  # own 1, 3
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "frost": ((0.92, 0.15), (0.84, 0.3), (0.76, 0.45), (0.68, 0.6), (0.6, 0.75)),  # own 1 .. 4
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.675),  # own
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
    "saturate": ((1.5, 0), (2, 0), (3, 0.05), (5, 0.1), (20, 0.2)),  # own 1 .. 3
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
}

TINY: dict[str, Levels] = CIFAR_10_C | {
    "gaussian_noise": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
}


def parameters(kind: str, severity: int, side: float) -> tuple[Any, ...]:
    """The parameters of a corruption at a severity 1 .. 5 for an image of so many pixels a side
    (of another shape: the root of its area)."""
    tables = TINY if side < SMALLEST else CIFAR_10_C if side < BETWEEN else IMAGENET_C
    return tables[kind][severity - 1]
