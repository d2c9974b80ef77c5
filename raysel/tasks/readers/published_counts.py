"""Published data sets that are not there, as far as their counts are known: as many labels as they
have pictures, spread evenly over the classes. Enough to divide them and to count a sweep's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from raysel.tasks.image_dataset import ImageDataset
from raysel.tasks.readers import breeds, cifar_c
from raysel.tasks.readers.published import PUBLISHED

_CORRUPTED = 10_000
"""Pictures of CIFAR-10-C at one severity."""

_CLEAN = 50_000
"""Training pictures of CIFAR-10, its source."""

_TRAINING, _VALIDATION = 1300, 50
"""Of one kind in ImageNet's training part, about, and in its validation part."""


def counted_pictures(name: str) -> ImageDataset | None:
    """A data set by its counts; None of one that is not known by name.

    Args:
        name: as in `PUBLISHED`, of CIFAR-10-C, or of a BREEDS data set.
    """
    if name == "cifar10c":
        return _pictures(name, len(cifar_c.CLASSES), {"train": _CORRUPTED, "source": _CLEAN})
    if name in breeds.SUBPOPULATIONS:
        kinds = breeds.superclasses(name)
        source, target = (sum(len(getattr(k, of)) for k in kinds) for of in ("source", "target"))
        parts = {
            "source": source * _TRAINING,
            "train": target * _TRAINING,
            "test": target * _VALIDATION,
        }
        return _pictures(name, len(kinds), parts)
    known = PUBLISHED.get(name)
    if known is None:
        return None
    parts = {"train": known.train} | ({"test": known.test} if known.test else {})
    return _pictures(name, known.class_count, parts)


def _pictures(name: str, classes: int, parts: Mapping[str, int]) -> ImageDataset:
    labels = np.concatenate([np.arange(size) % classes for size in parts.values()])
    pools = np.array([pool for pool, size in parts.items() for _ in range(size)])
    return ImageDataset(
        name=name,
        classes=tuple(f"class {number}" for number in range(classes)),
        labels=labels.astype(np.int64),
        sources=[Path(name)] * len(labels),
        official_splits=pools if len(parts) > 1 else None,
    )
