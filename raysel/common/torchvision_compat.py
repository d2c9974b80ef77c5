"""torchvision beside a torch that cannot load its compiled part.

timm imports torchvision, and torchvision's import asks torch for the operators `nms` and
`qnms`. Where the compiled extension does not load (a CPU build of torch beside the
registry's torchvision), those schemas are missing and the import fails, though nothing
here calls them. Declaring the two schemas beforehand is enough. Where the extension loads,
nothing is done. This file imports nothing of raysel: a copy lies beside every exported model.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import torch

_LIBRARY: torch.library.Library | None = None
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def extension_loads(package: Path) -> bool:
    """Whether a compiled extension of torchvision lies in `package` and can be loaded."""
    for candidate in sorted(package.glob("_C*.so")) + sorted(package.glob("_C*.pyd")):
        try:
            ctypes.CDLL(str(candidate))
        except OSError:
            continue
        return True
    return False


def compiled_part_loads() -> bool:
    """Whether the installed torchvision's does; True where there is no torchvision."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True
    return extension_loads(Path(spec.submodule_search_locations[0]))


def _declared() -> bool:
    """Whether the operators are known, by another copy of this file (each exported model has
    one), say: torch takes no second declaration."""
    return hasattr(torch.ops.torchvision, "nms")


def ensure_importable() -> bool:
    """Make `import torchvision` work; call before importing timm or torchvision.

    Returns:
        True if this call or an earlier one had to declare the missing operator schemas.
    """
    global _LIBRARY  # the schemas live as long as this object does
    spec = importlib.util.find_spec("torchvision")
    if _LIBRARY is not None or spec is None or not spec.submodule_search_locations:
        return _LIBRARY is not None
    if _declared() or extension_loads(Path(spec.submodule_search_locations[0])):
        return False
    _LIBRARY = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        _LIBRARY.define(schema)
    return True
