"""Build a timm model for a task, and fill it with weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from raysel.errors import nearest, user_error
from raysel.models import timm


@dataclass(frozen=True)
class Blueprint:
    """What determines a model but for its weights.

    Attributes:
        name: timm's name.
        classes: outputs of the classifier.
        channels: input channels.
        image_size: height and width.
    """

    name: str
    classes: int
    channels: int
    image_size: tuple[int, int]


def build(blueprint: Blueprint, seed: int, pretrained: bool = False) -> nn.Module:
    """A model with a fresh head (D5: one code path, seeded immediately before).

    Args:
        seed: determines every random initial weight; the caller's random state is kept.
        pretrained: take timm's pretrained weights for all but the head.
    """
    arguments: dict[str, object] = {}
    if _wants_image_size(blueprint.name):
        arguments["img_size"] = blueprint.image_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(
            blueprint.name,
            pretrained=pretrained,
            num_classes=blueprint.classes,
            in_chans=blueprint.channels,
            **arguments,
        )
    return model


def _wants_image_size(name: str) -> bool:
    """Whether the model is built for one image size (vision transformers are)."""
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    if config is not None and getattr(config, "fixed_input_size", False):
        return True
    return "img_size" in inspect.signature(timm.model_entrypoint(name)).parameters


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: the file is missing or is not a safetensors file (path `model.weights`).
    """
    if not path.is_file():
        raise user_error("model.weights", f"there is no file {path}; or give source or pretrained")
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise user_error("model.weights", f"{path} is no safetensors file: {error}") from None


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], head: tuple[str, ...]) -> None:
    """Fill a model; a head of another shape stays as it was initialised.

    Raises:
        UserError: names or shapes do not fit, with the first five of each kind.
    """
    own = model.state_dict()
    usable = {
        name: tensor
        for name, tensor in weights.items()
        if not (name in head and name in own and own[name].shape != tensor.shape)
    }
    missing = [name for name in own if name not in usable and name not in head]
    unexpected = [name for name in usable if name not in own and name not in head]
    shapes = [
        f"{name} {tuple(usable[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in usable and usable[name].shape != own[name].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    told = [f"{kind}: {', '.join(names[:5])}" for kind, names in kinds.items() if names]
    if told:
        raise user_error("model.weights", "does not fit the model; " + "; ".join(told))
    model.load_state_dict({name: t for name, t in usable.items() if name in own}, strict=False)


def check_name(name: str) -> str | None:
    """What is wrong with a timm model's name, None if nothing is."""
    if timm.is_model(name):
        return None
    return f'timm has no model "{name}"; {nearest(name, timm.list_models())}'
