"""timm's data config of a model: size, mean, deviation, interpolation, crop."""

from __future__ import annotations

from typing import Any, get_args

from raysel.models import timm
from raysel.tasks.model_input import Interpolation, ModelInput


def model_input(name: str) -> ModelInput:
    """What the model of that name expects of a picture; ImageNet's usual where timm does not
    know (a model of the user's own, an unknown name)."""
    try:
        found = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    except (RuntimeError, ValueError, KeyError):
        found = None
    if found is None:
        return ModelInput()
    config: dict[str, Any] = timm.data.resolve_data_config({}, pretrained_cfg=found.to_dict())
    interpolation = config["interpolation"]
    return ModelInput(
        size=int(config["input_size"][-1]),
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
        interpolation=interpolation if interpolation in get_args(Interpolation) else "bicubic",
        crop_share=float(config["crop_pct"]),
    )
