"""A model in timm's own hub layout: `config.json` and `model.safetensors`, no pickle.

`timm.create_model("local-dir:DIR", pretrained=True)` loads it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from raysel.models import timm
from raysel.models.input_size import wants_image_size
from raysel.tasks.data import Task

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""The files of the layout."""


def write_model(
    model: nn.Module, name: str, task: Task, origin: Mapping[str, Any], target: Path
) -> None:
    """Write a model, whole or not at all, in place of what `target` held.

    Args:
        model: of timm's architecture `name`, with its weights.
        task: gives class names, image size and normalisation.
        origin: what is told of where the model comes from, under `raysel`.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    height, width = task.image_size
    arguments: dict[str, Any] = {"num_classes": len(task.classes), "in_chans": task.channels}
    if wants_image_size(name):
        arguments["img_size"] = task.image_size
    timm.models.save_for_hf(
        model.eval().cpu(),
        str(partial),
        model_config={"label_names": list(task.classes), "raysel": dict(origin)},
        model_args=arguments,  # timm before 1.0.31 does not record them by itself
        safe_serialization=True,
        data_config={
            "input_size": (task.channels, height, width),
            "mean": task.mean,
            "std": task.std,
            "crop_pct": 1.0,
        },
    )
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
