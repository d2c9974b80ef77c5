"""Models that are built for one size of image (vision transformers are), and all others."""

from __future__ import annotations

import inspect

from raysel.models import timm


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
