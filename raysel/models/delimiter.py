"""Runs of weights between non-weighting modules: the block-wise paper's literal cut (D28).

The block-wise paper (its section III) ends a block at every MaxPool, BatchNorm and activation. A
model is run once in execution order, without data and without computing anything, and cut
there; runs without weights are dropped. The affine parameters of a norm join the weights
before it, or the first weights where there are none before (docs/algorithms.md, D28).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules import activation

from raysel.models.forward import Image, first_uses

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Modules whose parameters scale and shift but weigh nothing."""

_NO_ACTIVATION = (nn.MultiheadAttention, nn.Softmax, nn.Softmin, nn.LogSoftmax, nn.Softmax2d)
_CUTS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.modules.batchnorm._NormBase)


def is_norm(module: nn.Module) -> bool:
    """Whether a module only scales and shifts: torch's norms, those of timm and of others,
    whose parameters are vectors, a number a channel."""
    own = [parameter for _, parameter in _own(module)]
    return isinstance(module, NORMS) or (
        _is_leaf(module)
        and bool(own)
        and not isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
        and all(max(parameter.shape, default=1) == parameter.numel() for parameter in own)
    )


@dataclass(frozen=True)
class Trace:
    """One forward pass without data.

    Attributes:
        uses: the number of the operation that first uses a parameter, of those that are used.
        runs: see `weight_runs`.
        output: what the model gives, on the meta device.
    """

    uses: dict[str, int]
    runs: list[list[str]]
    output: Tensor


def traced(model: nn.Module, image: Image | None = None) -> Trace:
    """Run a model once without data, and note in which order its parameters are used.

    Args:
        image: None is the model's own size.

    Raises:
        ForwardError: the pass fails on the meta device.
    """
    runs = _Runs()
    with _hooked(model, runs):
        uses, output = first_uses(model, image)
    order = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    return Trace(uses, _complete(runs, order), output)


def weight_runs(model: nn.Module, image: Image | None = None) -> list[list[str]]:
    """The names of the parameters of each run, in execution order.

    A tied tensor is under each of its names, where the module of that name executes.

    A parameter that no module without children owns (a class token, a layer scale) belongs
    to the last run inside its owner; the model's own belong to the first run. What the pass
    does not reach is with the parameter that precedes it in the model.

    Arguments and errors as of `traced`.
    """
    return traced(model, image).runs


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
    """Record every module in `runs` as it executes."""
    owned = {
        module: [f"{path}.{name}" if path else name for name, _ in _own(module)]
        for path, module in model.named_modules()
    }

    def enter(module: nn.Module, _: object) -> None:
        if is_norm(module) or module is model:
            runs.attach(owned[module])
        elif _is_leaf(module):
            runs.weigh(owned[module])
        if is_delimiter(module):
            runs.cut()

    def leave(module: nn.Module, _: object, __: object) -> None:
        if not _is_leaf(module) and not is_norm(module):
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
