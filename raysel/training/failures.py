"""Failures of a trial's worker that are not the trial's own: a full disk, too little memory."""

from __future__ import annotations

from pathlib import Path

import torch

from raysel.spec.trial_config import TrialConfig


def of_the_folder(error: BaseException | None, folder: Path) -> str | None:
    """The error of a file below `folder` as a message; None if the error is of another kind.

    A folder that was removed, or whose rights were changed, is no fault of the trial's.
    """
    while error is not None:
        text = " ".join(str(error).split())
        if isinstance(error, OSError) and str(folder) in text:
            return f"a file of the sweep cannot be read or written ({text[-300:]})"
        error = error.__cause__ or error.__context__
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether there was too little memory, the device's or the machine's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def halved(config: TrialConfig) -> TrialConfig | None:
    """The same trial with half the batch and twice the accumulation; None if it is one image."""
    settings = config.training
    if settings.batch_size < 2:
        return None
    smaller = {
        "batch_size": settings.batch_size // 2,
        "gradient_accumulation_steps": 2 * settings.gradient_accumulation_steps,
    }
    return config.model_copy(update={"training": settings.model_copy(update=smaller)})


def halving(asked: TrialConfig, smaller: TrialConfig, epoch: int) -> str:
    """The note of a trial that continues with half the batch size from an epoch on."""
    settings = smaller.training
    return (
        f"out of memory at batch {asked.training.batch_size} in epoch {epoch}; "
        f"again with {settings.batch_size} × {settings.gradient_accumulation_steps}"
    )
