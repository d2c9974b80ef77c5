"""Whether a model has what `training.drop_path` sets."""

from __future__ import annotations

import torch

from raysel.models.timm_models import create_model, timm

_RATE = 0.5  # any but 0: timm then puts its modules in


def has_drop_path(name: str) -> bool:
    """Whether a model takes timm's `drop_path_rate`, and skips residual branches by it."""
    try:
        with torch.device("meta"):
            model = create_model(name, drop_path_rate=_RATE)
    except Exception:  # an unexpected keyword, or what a user's own code raises
        return False
    dropped = (module for module in model.modules() if isinstance(module, timm.layers.DropPath))
    return any(module.drop_prob for module in dropped)
