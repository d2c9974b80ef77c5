"""Enforce a process's share of a GPU: Ray counts fractions and enforces nothing."""

from __future__ import annotations

import torch

CONTEXT_BYTES = 512 * 2**20
"""Memory of the CUDA context of a process, which torch does not count."""


def keep_to_share(gpus: float) -> None:
    """Let this process allocate no more of its GPU's memory than its share.

    A trial that wants more is out of memory by itself, and no other trial with it.

    Args:
        gpus: what the trial has; a whole GPU, or none, sets no bound.
    """
    if 0 < gpus < 1 and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(max(gpus - CONTEXT_BYTES / total, gpus / 2))
