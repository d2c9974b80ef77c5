"""What a picture costs: the multiply-adds of a forward pass, counted on the meta device."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from raysel.models.forward import ForwardError, own_image, run_without_data
from raysel.models.partition_types import Head
from raysel.models.shapes import shapes_of


def multiply_adds_of(
    name: str,
    classes: int,
    channels: int = 3,
    head: Head = "linear",
    image_size: tuple[int, int] | None = None,
) -> int | None:
    """Multiply-adds of convolutions, matrix products and attention in one forward pass of one
    image; None of a model that cannot be run without data.

    They are what a trial's cost is in proportion to, whatever the machine: a backward pass costs
    about twice a forward pass, in every model.

    Args:
        As `shapes_of`.

    Raises:
        UserError: there is no such model (path `model.name`).
    """
    model = shapes_of(name, classes, channels, head, image_size)
    image = (channels, *(image_size or own_image(model)[1:]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            run_without_data(model, image)
        except ForwardError:
            return None
    return counter.get_total_flops() // 2 or None
