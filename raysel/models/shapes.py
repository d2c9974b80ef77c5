"""A timm model on the meta device: the shapes of its weights, without the weights."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from raysel.common.errors import nearest, user_error
from raysel.models.data_config import size_arguments
from raysel.models.head import put_mlp_head
from raysel.models.papers import hint
from raysel.models.partition_types import Head
from raysel.models.timm_models import create_model, timm
from raysel.spec.unsupported import other_model


def shapes_of(
    name: str,
    classes: int,
    channels: int = 3,
    head: Head = "linear",
    image_size: tuple[int, int] | None = None,
) -> nn.Module:
    """A timm model without weights, on the meta device.

    Args:
        image_size: height and width, on which the position embeddings of a transformer
            depend; None is the model's own.

    Raises:
        UserError: there is no such model (path `model.name`).
    """
    if not timm.is_model(name):
        raise user_error("model.name", f'timm has no model "{name}"; {_nearest_model(name)}')
    check_tag(name)
    with torch.device("meta"):
        model: nn.Module = create_model(
            name, num_classes=classes, in_chans=channels, **size_arguments(name, image_size)
        )
        if head == "mlp":
            put_mlp_head(model, classifier_paths(model), classes)
    return model


def classifier_paths(model: nn.Module) -> tuple[str, ...]:
    """The dotted names of the classifier's modules: one, several (a distilled transformer has
    a second, whose logits are averaged with the first one's), or none."""
    config = getattr(model, "pretrained_cfg", None) or {}
    path = config.get("classifier") or ()
    return tuple(path) if isinstance(path, list | tuple) else (str(path),)


def of_classifier(name: str, model: nn.Module) -> bool:
    """Whether a parameter belongs to the classifier."""
    return any(under(name, path) for path in classifier_paths(model))


def under(name: str, path: str) -> bool:
    """Whether a parameter is the one at a path, or belongs to the module there."""
    return bool(path) and (name == path or name.startswith(path + "."))


def check_tag(name: str) -> None:
    """What follows the dot in a model's name must be one of its pretrained weights.

    Raises:
        UserError: timm has none of that tag (path `model.name`).
    """
    model, dot, tag = name.partition(".")
    if not dot or not timm.is_model(name):
        return
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{model}.*")]
    if tag not in tags:
        hint = nearest(tag, tags) if tags else "it has none"
        raise user_error("model.name", f'timm has no weights "{tag}" of {model}; {hint}')


def _of_folder(folder: Path) -> str:
    """What to write in the place of timm's name of a folder with a model."""
    architecture = "its architecture"
    with suppress(OSError, ValueError, AttributeError):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture = config.get("architecture", architecture)
    return f"write model.name: {architecture}, and model.weights: {folder / 'model.safetensors'}"


def _nearest_model(name: str) -> str:
    if advice := hint(name) or other_model(name):
        return advice
    if name.startswith("local-dir:"):
        return _of_folder(Path(name.partition(":")[2]))
    own = name.replace(":", "/").rpartition("/")[2]  # torchvision/resnet18, microsoft/resnet-18
    if own != name and timm.is_model(own):
        return f'did you mean "{own}"?'
    known = timm.list_models() + timm.list_models(pretrained=True)
    return nearest(name, known)
