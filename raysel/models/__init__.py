"""What is tuned: models by name, their weights, and their partition into layers.

`from raysel.models import timm` gives timm behind the torchvision shim. It is imported when it is
first asked for, so that what names models or layers alone does not wait for it and torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["timm"]

if TYPE_CHECKING:
    from raysel.models.timm_models import timm
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("raysel.models.timm_models"), name)
