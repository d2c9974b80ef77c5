"""Non-finite losses and gradients: counted, skipped, and in the end fatal.

A step is finite if its loss and all its gradients are. On the CPU the host knows and
skips the step; on an accelerator the flag and the counters stay on the device and are read
every few steps, so that no step waits for the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MAX_BAD_STEPS = 10
"""Number of steps in a row without a finite loss that ends the trial."""

_READ_EVERY = 50


class Diverged(Exception):
    """The loss stayed non-finite."""


class NonfiniteCounter:
    """Counts the steps that were skipped."""

    def __init__(self, device: torch.device) -> None:
        self._on_host = device.type == "cpu"
        self._counts = torch.zeros(3, dtype=torch.int64, device=device)
        self._all, self._in_a_row, self._worst = self._counts.unbind()  # views
        self._until_read = _READ_EVERY

    def is_finite(self, loss: Tensor, squared_norms: Tensor) -> bool | Tensor:
        """Whether this step may be taken: a bool on the CPU, a 0-dim bool tensor elsewhere.

        Raises:
            Diverged: too many steps in a row were not.
        """
        finite = (loss + squared_norms.sum()).abs() < torch.inf
        bad = ~finite
        self._all.add_(bad)
        self._in_a_row.add_(1).mul_(bad)
        torch.maximum(self._worst, self._in_a_row, out=self._worst)
        self._until_read -= 1
        if self._on_host or self._until_read == 0:
            self.check()
        return bool(finite) if self._on_host else finite

    def check(self) -> None:
        """Read the counters; raises `Diverged` where the worst run is too long."""
        self._until_read = _READ_EVERY
        if int(self._counts[2]) >= MAX_BAD_STEPS:
            raise Diverged(f"the loss was not finite for {MAX_BAD_STEPS} steps in a row")

    @property
    def skipped(self) -> int:
        """How many steps were skipped so far."""
        return int(self._counts[0])

    def state_dict(self) -> dict[str, Any]:
        """The counters."""
        return {"counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the counters."""
        self._counts.copy_(state["counts"])


def mean_finite(losses: list[Tensor]) -> float:
    """The mean of the finite losses of an epoch, read once."""
    values = torch.stack(losses).double().cpu()
    return float(values[torch.isfinite(values)].mean())
