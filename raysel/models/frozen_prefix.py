"""The lowest modules of a model whose parameters never move, and a forward pass that begins above
them, from their stored output.

No model is taken apart. One pass records which modules ended before the cut; later each of them
answers with an empty tensor of the shape that it gave, the last one with the stored output, and
the model's own code above it runs as it is. The empty tensors must not reach the logits: that is
checked with NaN in their place and bit for bit before a cut is used (`raysel.models.find_prefix`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

Forward = Callable[[Tensor], Tensor]
"""From images to float32 logits, as the trial runs the model."""


class NoPrefix(Exception):
    """The frozen layers cannot be replaced by their output; the message is one line."""


@dataclass(frozen=True, eq=False)
class Output:
    """A tensor that a module gave.

    Attributes:
        batch: its first dimension for one example.
        value: the tensor itself where it does not depend on the batch (a table of positions).
    """

    shape: tuple[int, ...]
    batch: int
    dtype: torch.dtype
    device: torch.device
    value: Tensor | None = None

    @classmethod
    def of(cls, tensor: Tensor, examples: int) -> Output:
        """What a tensor was for a batch of so many examples."""
        shape = tuple(tensor.shape)
        scales = bool(shape) and shape[0] > 0 and shape[0] % examples == 0
        batch = shape[0] // examples if scales else 0
        value = None if scales else tensor.detach().clone()
        return cls(shape, batch, tensor.dtype, tensor.device, value)

    def filled(self, examples: int, poison: bool) -> Tensor:
        """A tensor of that shape for so many examples: without values, or with NaN."""
        if self.value is not None:
            return self.value.clone()
        shape = (self.batch * examples, *self.shape[1:])
        made = torch.empty(shape, dtype=self.dtype, device=self.device)
        return made.fill_(torch.nan) if poison and made.is_floating_point() else made


@dataclass(frozen=True)
class FrozenPrefix:
    """Where a model is cut.

    Attributes:
        calls: the modules that are replaced, by their paths, in the order in which they end, and
            what each gave; the last one gives the stored output.
        shape: of that output for one example.
        order: its dimensions from the outermost in memory to the innermost.
        dtype: of that output.
    """

    calls: tuple[tuple[str, Any], ...]
    shape: tuple[int, ...]
    order: tuple[int, ...]
    dtype: torch.dtype

    @property
    def last(self) -> str:
        """The module that gives the stored output."""
        return self.calls[-1][0]

    @property
    def has_values(self) -> bool:
        """Whether it holds tensors that depend on the weights."""
        found: list[Output] = []
        for _, output in self.calls:
            tree_map_only(Output, found.append, output)
        return any(output.value is not None for output in found)

    @property
    def row_bytes(self) -> int:
        """Of one example's output."""
        size = torch.empty((), dtype=self.dtype).element_size()
        return int(torch.Size(self.shape).numel()) * size

    def as_stored(self, output: Tensor) -> Tensor:
        """[n, …] as it lies in memory, so that reading gives the same layout."""
        return output.permute(self.order).contiguous()

    def as_given(self, stored: Tensor) -> Tensor:
        """The inverse of `as_stored`."""
        return stored.permute([self.order.index(place) for place in range(len(self.order))])

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of one example in `as_stored`."""
        return tuple(self.shape[place - 1] for place in self.order[1:])


class _Ended(Exception):
    """Ends a forward pass at the cut."""


class CutModel:
    """A model and its cut: the two halves of its forward pass.

    Args:
        model: it stays as it is; its modules are replaced during a pass alone.
        image: channels, height and width.
    """

    def __init__(self, model: nn.Module, prefix: FrozenPrefix, image: tuple[int, ...]) -> None:
        self.prefix, self._image = prefix, image
        modules = dict(model.named_modules())
        self._modules: dict[str, nn.Module] = {path: modules[path] for path, _ in prefix.calls}
        self._call = sum(path == prefix.last for path, _ in prefix.calls)

    def frozen_output(self, forward: Forward, images: Tensor) -> Tensor:
        """What the frozen layers give for images [n, c, h, w], as it is stored; nothing above them
        is computed."""
        found: list[Tensor] = []
        left = self._call

        def end(module: nn.Module, args: Any, output: Tensor) -> None:
            nonlocal left
            left -= 1
            if not left:
                found.append(output)
                raise _Ended

        handle = self._modules[self.prefix.last].register_forward_hook(end)
        try:
            forward(images)
        except _Ended:
            return self.prefix.as_stored(found[0].detach())
        finally:
            handle.remove()
        raise NoPrefix(f"{self.prefix.last} was not reached")

    def logits(self, forward: Forward, stored: Tensor, poison: bool = False) -> Tensor:
        """The forward pass from the stored output on.

        Args:
            stored: [n, …] as of `frozen_output`; the pass may write into it.
            poison: whether what takes the place of the lower modules' output is NaN.
        """
        examples = len(stored)
        given: dict[str, list[Tensor | Any]] = {path: [] for path in self._modules}
        for path, output in self.prefix.calls[:-1]:
            given[path].append(output)
        given[self.prefix.last].append(self.prefix.as_given(stored))
        device = stored.device
        images = torch.empty((examples, *self._image), device=device)
        if poison:
            images.fill_(torch.nan)
        with ExitStack() as replaced:
            for path, outputs in given.items():
                stub = _Stub(self._modules[path].forward, outputs, examples, poison)
                replaced.enter_context(_instead(self._modules[path], stub))
            return forward(images)


class _Stub:
    """Answers the first calls of a module with what is given, the rest by the module's own."""

    def __init__(
        self, forward: Callable[..., Any], outputs: Sequence[Any], examples: int, poison: bool
    ) -> None:
        self._forward, self._outputs = forward, iter(outputs)
        self._examples, self._poison = examples, poison

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for output in self._outputs:
            return tree_map_only(Output, self._filled, output)
        return self._forward(*args, **kwargs)

    def _filled(self, output: Output) -> Tensor:
        return output.filled(self._examples, self._poison)


@contextmanager
def _instead(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
