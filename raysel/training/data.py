"""From the parts of a task to the data of a trial, on its device."""

from __future__ import annotations

import torch

from raysel.tasks.data import Examples, Part
from raysel.training.batches import Data, to_device
from raysel.training.image_batches import StoredData


def on_device(
    part: Part, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> Data:
    """A part for training: arrays are put on the device as a whole, pictures batch by batch."""
    if isinstance(part, Examples):
        return to_device(part, mean, std, device)
    return StoredData.on(part, mean, std, device)
