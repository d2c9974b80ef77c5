"""How pictures become what a model was trained on, in timm's words."""

from __future__ import annotations

from typing import Any

from raysel.tasks.cached_examples import CachedExamples
from raysel.tasks.data import Task


def transform_of(task: Task) -> dict[str, Any]:
    """The part of timm's `pretrained_cfg` that `timm.data.create_transform` follows.

    Embedded data are arrays and no picture is resized; the digits are enlarged by repeating each
    pixel, which is what "nearest" does.
    """
    size = [task.channels, *task.image_size]
    fixed = {"input_size": size, "mean": list(task.mean), "std": list(task.std)}
    if not isinstance(task.validation, CachedExamples):
        return {**fixed, "interpolation": "nearest", "crop_pct": 1.0, "crop_mode": "center"}
    model_input = task.validation.geometry.input
    return {
        **fixed,
        "interpolation": model_input.interpolation,
        "crop_pct": model_input.crop_share,
        "crop_mode": model_input.crop_mode,
    }
