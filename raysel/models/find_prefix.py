"""Finds where a model is cut (`raysel.models.frozen_prefix`), and checks it before it is used.

One pass with gradients shows which modules ended below everything that may move. The highest of
them is taken whose stored output gives the logits of the whole model, bit for bit, with NaN in
place of what the other modules gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from raysel.common.text import first_line
from raysel.models.frozen_prefix import CutModel, Forward, FrozenPrefix, NoPrefix, Output

PROBED = 5
"""Examples that a cut is checked on: not the size of anything else in a model, so that a shape's
batch is known from it."""

_FEWER = 3  # and on so many, as a shape may have that number by chance
_TRIED = 24  # cuts, from the top down


@dataclass
class _Call:
    """One call of a module while the model runs."""

    path: str
    above: tuple[int, ...]  # the calls that it happened in, by number
    end: int = -1
    output: Any = None
    moves: bool = False  # whether it has a parameter that may move, or its output depends on one


@dataclass
class _Recorder:
    """The calls of a forward pass in the order in which they began."""

    calls: list[_Call] = field(default_factory=list)
    _open: list[int] = field(default_factory=list)
    _time: int = 0

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        handles = []
        for path, module in model.named_modules():
            if path:
                own = any(parameter.requires_grad for parameter in module.parameters())
                handles += [
                    module.register_forward_pre_hook(self._enter(path, own)),
                    module.register_forward_hook(self._leave),
                ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str, moves: bool) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any) -> None:
            self.calls.append(_Call(path, tuple(self._open), moves=moves))
            self._open.append(len(self.calls) - 1)

        return enter

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        call = self.calls[self._open.pop()]
        call.end, self._time = self._time, self._time + 1
        call.output = output
        tensors: list[Tensor] = []
        tree_map_only(Tensor, tensors.append, output)
        call.moves = call.moves or any(tensor.requires_grad for tensor in tensors)


def _candidates(recorder: _Recorder, examples: int) -> Iterator[FrozenPrefix]:
    """Cuts below everything that may move, from the top down."""
    calls = recorder.calls
    first = min((call.end for call in calls if call.moves and call.end >= 0), default=0)
    below = sorted((c for c in calls if 0 <= c.end < first), key=lambda c: -c.end)
    for last in below:
        output = last.output
        if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != examples:
            continue
        ended = sorted((c for c in below if c.end <= last.end), key=lambda c: c.end)
        open_then = set(last.above)
        replaced = [call for call in ended if set(call.above) <= open_then]
        strides = output.stride()
        inner = sorted(range(1, output.ndim), key=lambda place: (-strides[place], place))
        yield FrozenPrefix(
            calls=tuple((call.path, _outputs(call.output, examples)) for call in replaced),
            shape=tuple(output.shape[1:]),
            order=(0, *inner),
            dtype=output.dtype,
        )


def _outputs(given: Any, examples: int) -> Any:
    return tree_map_only(Tensor, lambda tensor: Output.of(tensor, examples), given)


def checked_prefix(
    model: nn.Module, forward: Forward, images: Tensor, most_bytes: float = float("inf")
) -> FrozenPrefix | None:
    """The highest cut below all parameters that require a gradient, as the model stands: its
    modules in the modes that they train in.

    Buffers, modes and the random state are as before afterwards, but for the random numbers that
    the model draws: call it within `seeded`.

    Args:
        forward: runs the model on images as the trial does.
        images: `PROBED` examples.
        most_bytes: of an example's output; a cut that gives more is not taken.

    Returns:
        None where nothing is frozen, the cut would give too much, or the frozen modules give
        something else in training than in evaluation (batch statistics, dropout).

    Raises:
        NoPrefix: no cut gives the logits of the whole model, bit for bit.
    """
    check, recorder = _Check(model, forward, images), _Recorder()
    try:
        with recorder.watching(model), torch.enable_grad():
            forward(images)
        check.restore()
        cuts = list(islice(_candidates(recorder, len(images)), _TRIED))
        for place, prefix in enumerate(cuts):
            cut = CutModel(model, prefix, tuple(images.shape[1:]))
            usable = prefix.row_bytes <= most_bytes and check.is_fixed(cut)
            if usable and check.is_same(cut):
                return prefix
            if not place and not usable:
                return None
    except Exception as error:  # a model's code may raise whatever it likes
        raise NoPrefix(first_line(error)) from error
    finally:
        check.restore()
    if all(prefix.row_bytes <= most_bytes for prefix in cuts) and cuts:
        raise NoPrefix("the logits from stored features are not those of the whole model")
    return None


class _Check:
    """Compares the two halves of a model with the whole of it.

    Args:
        model: as it stands: with its modules in the modes that they train in.
    """

    def __init__(self, model: nn.Module, forward: Forward, images: Tensor) -> None:
        self._model, self._forward, self._images = model, forward, images
        self._buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        self._modes = {module: module.training for module in model.modules()}

    def is_fixed(self, cut: CutModel) -> bool:
        """Whether the frozen modules do in training what they do in evaluation: no batch
        statistics, no random numbers."""
        device = self._images.device
        state = _random_state(device)
        with torch.no_grad():
            training = cut.frozen_output(self._forward, self._images)
            drew = not all(map(torch.equal, state, _random_state(device)))
            buffers = self._model.named_buffers()
            wrote = any(not torch.equal(buffer, self._buffers[n]) for n, buffer in buffers)
            self.restore()
            self._model.eval()
            evaluation = cut.frozen_output(self._forward, self._images)
        self.restore()
        return not drew and not wrote and _equal(training, evaluation)

    def is_same(self, cut: CutModel) -> bool:
        """Whether both halves give what the whole model gives, in training and in evaluation."""
        return all(
            self._is_same(cut, some, training)
            for some in (self._images, self._images[:_FEWER])
            for training in (True, False)
        )

    def _is_same(self, cut: CutModel, images: Tensor, training: bool) -> bool:
        whole = self._run(lambda: self._forward(images), training)
        stored = self._run(lambda: cut.frozen_output(self._forward, images), training)
        try:
            halves = self._run(lambda: cut.logits(self._forward, stored, poison=True), training)
        except Exception:  # of a module above the cut that cannot compute with NaN
            return False
        return _equal(whole, halves)

    def _run(self, what: Callable[[], Tensor], training: bool) -> Tensor:
        if not training:
            self._model.eval()
        devices = [self._images.device] if self._images.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(0)
            found = what()
        self.restore()
        return found

    @torch.no_grad()
    def restore(self) -> None:
        """Buffers and modes as they were."""
        for module, training in self._modes.items():
            module.training = training
        for name, buffer in self._model.named_buffers():
            buffer.copy_(self._buffers[name])


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
