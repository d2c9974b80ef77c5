"""A module that is loaded when it is first used, for what most commands never reach.

    ndimage = Deferred("scipy.ndimage")

in place of `from scipy import ndimage`. A decorator or a constant of a module
(`@torch.no_grad()`, `nn.Conv1d | nn.Conv2d`) would still load it at once.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


class Deferred:
    """A module by its name; each look-up goes to the module itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        module = sys.modules.get(self._name) or importlib.import_module(self._name)
        return getattr(module, attribute)
