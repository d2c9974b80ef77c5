"""What timm knows of a model's input: size, mean, deviation, interpolation, crop; and whether the
model is built for one size of image (vision transformers are)."""

from __future__ import annotations

import inspect
from typing import Any, cast, get_args

import torch

from raysel.models.timm_models import create_model, timm
from raysel.tasks.model_input import CropMode, Interpolation, ModelInput

_CHANNELS = 3  # pictures are RGB


def pretrained_cfg(name: str) -> dict[str, Any] | None:
    """timm's configuration of a model's weights and input; None where there is none (a model of
    the user's own, an unknown name)."""
    try:
        found = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
        if found is None and timm.is_model(name):
            with torch.device("meta"):
                found = getattr(create_model(name), "pretrained_cfg", None)
    except Exception:  # whatever a user's own model raises; building it for the task reports it
        return None
    if hasattr(found, "to_dict"):
        found = found.to_dict()
    return dict(found) if isinstance(found, dict) and found else None


def model_input(name: str) -> ModelInput:
    """What the model of that name expects of a picture; ImageNet's usual where timm does not
    know (a model of the user's own, an unknown name)."""
    found = pretrained_cfg(name)
    if found is None:
        return ModelInput()
    config: dict[str, Any] = timm.data.resolve_data_config({}, pretrained_cfg=found)
    usual = ModelInput()
    interpolation, crop_mode = config["interpolation"], config["crop_mode"]
    return ModelInput(
        size=int(config["input_size"][-1]),
        mean=_by_channel(config["mean"], usual.mean),
        std=_by_channel(config["std"], usual.std),
        interpolation=cast(
            Interpolation,
            interpolation if interpolation in get_args(Interpolation) else "bicubic",
        ),
        crop_share=float(config["crop_pct"]),
        # whatever timm does not know, it takes for the centre
        crop_mode=cast(CropMode, crop_mode if crop_mode in get_args(CropMode) else "center"),
    )


def wants_image_size(name: str) -> bool:
    """Whether the model is built for one image size."""
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    if config is not None and getattr(config, "fixed_input_size", False):
        return True
    return "img_size" in inspect.signature(timm.model_entrypoint(name)).parameters


def size_arguments(name: str, image_size: tuple[int, int] | None) -> dict[str, object]:
    """Arguments about the images for `timm.create_model`; empty if the model takes none.

    Args:
        image_size: height and width; None is the model's own.
    """
    if image_size is None or not wants_image_size(name):
        return {}
    return {"img_size": image_size}


def _by_channel(values: Any, usual: tuple[float, ...]) -> tuple[float, ...]:
    """A number a channel; one number (a model of grey pictures) holds for all three."""
    numbers = tuple(float(v) for v in (values if isinstance(values, list | tuple) else (values,)))
    if len(numbers) == 1:
        return numbers * _CHANNELS
    return numbers if len(numbers) == _CHANNELS else usual
