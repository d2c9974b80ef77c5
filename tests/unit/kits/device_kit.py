"""A training step on the meta device, which takes the path of a GPU: which operations it
dispatches, each of them a launch there, and that none makes the host wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")

_FUSED = {"_fused_sgd_", "_fused_adam_"}
"""Written in place, so that nothing is lost where torch has no shapes-only version of them."""

_READS = {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "masked_select"}
_COPIES = {"_to_copy", "copy_", "_copy_from"}


class HostRead(AssertionError):
    """The host would have to wait for the device."""


class Dispatched(TorchDispatchMode):
    """Counts what is dispatched, on whatever device, by the operation's name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Counts what is dispatched to the meta device.

    Args:
        strict: whether it is an error that the host waits.

    Raises:
        HostRead: a number is read from the device, or a tensor is copied to the host or from it
            (a copy of pageable memory waits as well).
    """

    def __init__(self, strict: bool = True) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._strict = strict

    @property
    def total(self) -> int:
        """How many there were."""
        return self.counts.total()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name, given = func.overloadpacket.__name__, dict(kwargs or {})
        devices = {leaf.device.type for leaf in tree_leaves((args, given)) if _is_tensor(leaf)}
        if (to := given.get("device")) is not None:
            devices.add(torch.device(to).type)
        if "meta" not in devices:
            return func(*args, **given)
        if self._strict and (name in _READS or (name in _COPIES and len(devices) > 1)):
            raise HostRead(name)
        self.counts[name] += 1
        return None if name in _FUSED else func(*args, **given)


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)
