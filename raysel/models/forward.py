"""One forward pass on the meta device: shapes alone, without weights, data or arithmetic.

It shows whether a model runs on images of a size, and the order in which its parameters are
used, which is the order of its layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from raysel.common.code_exits import as_exceptions
from raysel.common.text import first_line

Image = tuple[int, int, int]
"""Channels, height and width of an image."""


_MOST_CHANNELS = 16  # of an image
LONGEST = 120
"""Of a reason, in characters."""


class ForwardError(Exception):
    """The forward pass fails; the message is one line."""


class NeedsData(ForwardError):
    """The forward pass reads the values of tensors, which have none on the meta device."""


def first_uses(model: nn.Module, image: Image | None = None) -> tuple[dict[str, int], Tensor]:
    """The number of the operation that first uses each parameter, and the model's output.

    A parameter that the pass does not use is not among them.

    Args:
        image: None is the model's own size.

    Raises:
        ForwardError: the pass fails.
    """
    state = _meta_state(model)
    with _Uses(state) as uses:
        output = _run(model, state, image)
    return uses.first, output


def run_without_data(model: nn.Module, image: Image | None = None) -> Tensor:
    """One forward pass in eval mode; weights, buffers and flags stay as they are.

    Returns:
        The model's output, on the meta device.

    Raises:
        ForwardError: the pass fails.
    """
    return _run(model, _meta_state(model), image)


def own_image(model: nn.Module) -> Image:
    """Channels, height and width of the images that a model is made for."""
    config = getattr(model, "pretrained_cfg", None) or {}
    channels, height, width = config.get("input_size") or (3, 224, 224)
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    # a first convolution of many channels does not take the images (csatv2's takes their DCT)
    own = first is not None and first.in_channels <= _MOST_CHANNELS
    return (first.in_channels if first is not None and own else channels, height, width)


class _Uses(TorchDispatchMode):
    """Notes the first operation that takes each parameter."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.first: dict[str, int] = {}
        self._names = {id(tensor): name for name, tensor in state.items()}
        self._operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self._operations += 1
        for value in (*args, *(kwargs or {}).values()):
            for tensor in value if isinstance(value, list | tuple) else (value,):
                if (name := self._names.get(id(tensor))) is not None:
                    self.first.setdefault(name, self._operations)
        return func(*args, **(kwargs or {}))


def _meta_state(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }


def _run(model: nn.Module, state: dict[str, Tensor], image: Image | None) -> Tensor:
    images = torch.empty((1, *(image or own_image(model))), device="meta")
    with _in_eval_mode(model), torch.no_grad():
        try:
            with as_exceptions():
                output = torch.func.functional_call(model, state, (images,))
        except Exception as error:  # a model's code may raise whatever it likes
            # torch says "meta" where an operation wants the values of a tensor
            wants = isinstance(error, NotImplementedError) or "meta" in str(error).lower()
            raise (NeedsData if wants else ForwardError)(first_line(error, LONGEST)) from error
    return output


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
