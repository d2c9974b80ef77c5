"""Runs of weights between non-weighting modules: the block-wise paper's literal cut (D28).

The block-wise paper (its section III) ends a block at every MaxPool, BatchNorm and activation. A
model is run once in execution order, without data and without computing anything, and cut
there; runs without weights are dropped. The affine parameters of a norm join the weights
before it, or the first weights where there are none before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules import activation

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Modules whose parameters scale and shift but weigh nothing."""

_NO_ACTIVATION = (nn.MultiheadAttention, nn.Softmax, nn.Softmin, nn.LogSoftmax, nn.Softmax2d)
_CUTS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.modules.batchnorm._NormBase)


class Untraceable(Exception):
    """The model cannot be run without data."""


def weight_runs(model: nn.Module) -> list[list[str]]:
    """The names of the parameters of each run, in execution order.

    A tied tensor stands under each of its names, where the module of that name executes.

    A parameter that no module without children owns (a class token, a layer scale) belongs
    to the last run inside its owner; the model's own belong to the first run. What the pass
    does not reach stands with the parameter that precedes it in the model.

    Raises:
        Untraceable: the forward pass fails on the meta device.
    """
    runs = _Runs()
    with _hooked(model, runs):
        _run_without_data(model)
    return _complete(runs, [name for name, _ in model.named_parameters(remove_duplicate=False)])


class _Runs:
    """Collects names as the modules execute."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self._open = False  # whether the last group may still take weights
        self._waiting: list[str] = []  # affine parameters before any weights
        self._known: set[str] = set()

    def cut(self) -> None:
        """A delimiter was executed."""
        self._open = False

    def weigh(self, names: list[str]) -> None:
        """Weights were executed: they extend the open run, or begin one."""
        if new := self._new(names):
            if not self._open:
                self.groups.append([])
                self._open = True
            self.groups[-1] += [*self._waiting, *new]
            self._waiting = []

    def attach(self, names: list[str]) -> None:
        """Parameters that make no run of their own join the weights before them."""
        new = self._new(names)
        (self.groups[-1] if self.groups else self._waiting).extend(new)

    def _new(self, names: list[str]) -> list[str]:
        new = [name for name in names if name not in self._known]
        self._known.update(new)
        return new


def _complete(runs: _Runs, order: list[str]) -> list[list[str]]:
    """The runs with every parameter of the model, each run in the model's own order."""
    if not runs.groups:
        return [order]
    run_of = {name: index for index, group in enumerate(runs.groups) for name in group}
    current = 0
    groups: list[list[str]] = [[] for _ in runs.groups]
    for name in order:
        current = run_of.get(name, current)
        groups[current].append(name)
    return groups


@contextmanager
def _hooked(model: nn.Module, runs: _Runs) -> Iterator[None]:
    """Tell `runs` of every module as it executes."""
    owned = {
        module: [f"{path}.{name}" if path else name for name, _ in _own(module)]
        for path, module in model.named_modules()
    }

    def enter(module: nn.Module, _: object) -> None:
        if isinstance(module, NORMS) or module is model:
            runs.attach(owned[module])
        elif _is_leaf(module):
            runs.weigh(owned[module])
        if is_delimiter(module):
            runs.cut()

    def leave(module: nn.Module, _: object, __: object) -> None:
        if not _is_leaf(module) and not isinstance(module, NORMS):
            runs.attach(owned[module])

    handles = [
        handle
        for module in model.modules()
        for handle in (
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave),
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def is_delimiter(module: nn.Module) -> bool:
    """Whether a block ends here: a max-pooling, a batch norm or an activation."""
    if isinstance(module, _CUTS):
        return True
    home = type(module).__module__
    is_activation = home == activation.__name__ or home.startswith("timm.layers.activations")
    return is_activation and not isinstance(module, _NO_ACTIVATION)


def _own(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return module.named_parameters(recurse=False, remove_duplicate=False)


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _run_without_data(model: nn.Module) -> None:
    """One forward pass in eval mode with shapes alone; weights, buffers, flags stay as they are."""
    modes = [(module, module.training) for module in model.modules()]
    state = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    model.eval()
    try:
        with torch.no_grad():
            torch.func.functional_call(model, state, (torch.empty(_input(model), device="meta"),))
    except Exception as error:
        raise Untraceable(
            str(error).splitlines()[0] if str(error) else type(error).__name__
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode


def _input(model: nn.Module) -> tuple[int, ...]:
    """The shape of one image for the model."""
    config = getattr(model, "pretrained_cfg", None) or {}
    size = config.get("input_size") or (3, 224, 224)
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return (1, first.in_channels if first else size[0], *size[1:])
