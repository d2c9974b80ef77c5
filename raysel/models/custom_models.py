"""Models of the user's own, entered into timm's registry by a file under `code`: whether they
keep to what training and export need of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from raysel.common.code_exits import as_exceptions
from raysel.common.text import first_line
from raysel.models.data_config import pretrained_cfg, size_arguments
from raysel.models.timm_models import create_model, timm


def is_custom(name: str) -> bool:
    """Whether a model is neither timm's nor raysel's."""
    if not timm.is_model(name):
        return False
    module = timm.model_entrypoint(name).__module__
    return module.split(".")[0] not in ("timm", "raysel")


def why_not_built(
    name: str, classes: int, channels: int, image_size: tuple[int, int]
) -> Iterator[str]:
    """Why a model of the user's own cannot be built as a trial builds it, in a line."""
    asked = f"num_classes={classes}, in_chans={channels}"
    try:
        model = _without_data(name, classes, channels, image_size)
    except Exception as error:  # whatever the user's own code raises
        yield (
            f"{name}({asked}) cannot be built: {first_line(error)}; its function has to take"
            " pretrained, num_classes, in_chans and **others"
        )
        return
    if not isinstance(model, nn.Module):
        yield f"{name}({asked}) gives {type(model).__name__}, and no torch.nn.Module"


def _without_data(name: str, classes: int, channels: int, image_size: tuple[int, int]) -> Any:
    """What the model's function gives, on the meta device."""
    with torch.device("meta"):
        return create_model(
            name, num_classes=classes, in_chans=channels, **size_arguments(name, image_size)
        )


def why_not_trained(
    name: str, classes: int, channels: int, image_size: tuple[int, int]
) -> Iterator[str]:
    """Why a model of the user's own, which can be built and run, cannot be trained, in a line."""
    model = _without_data(name, classes, channels, image_size)
    images = torch.empty(2, channels, *image_size, device="meta")
    whole = [n for n, p in model.named_parameters() if not p.dtype.is_floating_point]
    if whole:
        kind = str(model.get_parameter(whole[0]).dtype).removeprefix("torch.")
        yield f"{name}: the parameter {whole[0]} is {kind}; make it a buffer (register_buffer)"
        return
    try:
        with as_exceptions(), torch.enable_grad():
            logits = model.requires_grad_(True)(images)
    except Exception:  # of the user's own code: training says where
        return
    if not logits.requires_grad:
        yield f"{name} gives logits without a gradient (detach, no_grad): no layer could learn"


def notes(name: str) -> Iterator[str]:
    """What a model of the user's own lacks, and what is done in its place."""
    if is_custom(name) and pretrained_cfg(name) is None:
        yield (
            f"model.name: {name} has no pretrained_cfg: pictures are prepared as ImageNet's usual"
            " (task.image_size, or 224 pixels) and the last layer in use counts as the classifier;"
            " the exported config.json says what was used, and the model's code goes with it"
        )
