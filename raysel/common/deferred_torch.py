"""torch, loaded when it is first used: what declares a strategy or names a layer does without its
two seconds of import.

    from raysel.common.deferred_torch import Tensor, nn, torch

in place of `import torch` and `from torch import Tensor, nn`. Type checkers see torch itself.
`Tensor` serves annotations and `isinstance`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from raysel.common.deferred import Deferred

__all__ = ["Tensor", "functional", "nn", "torch"]

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
else:
    torch, nn = Deferred("torch"), Deferred("torch.nn")
    functional = Deferred("torch.nn.functional")

    class _IsTensor(type):
        def __instancecheck__(cls, value: object) -> bool:
            return "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor)

    class Tensor(metaclass=_IsTensor):
        """Stands for `torch.Tensor`."""
