"""Models of the user's own, entered into timm's registry by a file under `code`: whether they
keep to what training and export need of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from raysel.models import timm
from raysel.models.data_config import pretrained_cfg
from raysel.models.input_size import size_arguments
from raysel.text import first_line

_INPUTS = 2


def is_own(name: str) -> bool:
    """Whether a model is neither timm's nor raysel's."""
    if not timm.is_model(name):
        return False
    module = timm.model_entrypoint(name).__module__
    return module.split(".")[0] not in ("timm", "raysel")


def what_is_wrong(
    name: str, classes: int, channels: int, image_size: tuple[int, int]
) -> Iterator[str]:
    """What keeps a model of the user's own from being trained on a task, in a line.

    It is built as a trial builds it, and run once without data (on torch's meta device); a model
    that only runs with data is let pass.
    """
    asked = f"num_classes={classes}, in_chans={channels}"
    try:
        with torch.device("meta"):
            model = timm.create_model(
                name, num_classes=classes, in_chans=channels, **size_arguments(name, image_size)
            )
    except Exception as error:  # whatever the user's own code raises
        yield (
            f"{name}({asked}) cannot be built: {first_line(error)}; its function has to take"
            " pretrained, num_classes, in_chans and **others"
        )
        return
    if not isinstance(model, nn.Module):
        yield f"{name}({asked}) gives {type(model).__name__}, and no torch.nn.Module"
        return
    try:
        with torch.no_grad():
            inputs = torch.empty(_INPUTS, channels, *image_size, device="meta")
            given = model.eval().to("meta")(inputs)
    except Exception:
        return
    if not isinstance(given, Tensor):
        yield f"{name} gives {type(given).__name__}; it has to give logits alone, [n, {classes}]"
    elif tuple(given.shape) != (_INPUTS, classes):
        seen = ", ".join(["n", *map(str, given.shape[1:])])
        yield (
            f"{name} gives [{seen}] for {classes} classes; it has to give logits [n, {classes}],"
            " and to take num_classes"
        )


def notes(name: str) -> Iterator[str]:
    """What a model of the user's own lacks, and what is done in its place."""
    if is_own(name) and pretrained_cfg(name) is None:
        yield (
            f"model.name: {name} has no pretrained_cfg: pictures are prepared as ImageNet's usual"
            " (task.image_size, or 224 pixels) and the last layer counts as the classifier; the"
            " exported config.json says what was used, and the model's code goes with it"
        )
