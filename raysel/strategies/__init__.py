"""Which layers move, and how much: one file a family of strategies.

Importing the package fills the registry with every module that is in it.
"""

from __future__ import annotations

import importlib
import pkgutil

from raysel.strategies.base import Strategy
from raysel.strategies.registry import registered

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Strategy", "registered"]
