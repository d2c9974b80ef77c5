"""Taking from a layer what it has learnt, and giving it back bit for bit.

Two ways, those of module criticality: the identity (the delta kernel of a convolution, or a
whole layer that passes its input on) and fresh random weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard

from raysel.common.deferred_torch import Tensor, nn, torch
from raysel.models.partition_types import Partition
from raysel.strategies.outputs import module_layers

if TYPE_CHECKING:
    _Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


def _is_weighted(module: nn.Module) -> TypeGuard[_Convolution | nn.Linear]:
    return _is_convolution(module) or isinstance(module, nn.Linear)


def _is_convolution(module: nn.Module) -> TypeGuard[_Convolution]:
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)


# --- which modules a layer has -----------------------------------------------------------------


def weighted_modules(model: nn.Module, partition: Partition) -> list[list[nn.Module]]:
    """The convolutions and linear modules of each of the L layers; a tied one occurs once."""
    found: list[list[nn.Module]] = [[] for _ in range(len(partition))]
    seen: set[int] = set()
    for module, layer in modules_of_layers(model, partition):
        if _is_weighted(module) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            found[layer].append(module)
    return found


def modules_of_layers(model: nn.Module, partition: Partition) -> Iterator[tuple[nn.Module, int]]:
    """Every module that is wholly in one layer, and the layer's index."""
    owner = module_layers(model, partition)
    for name, module in model.named_modules():
        layer = owner.get(name)
        if layer is not None:
            yield module, layer


def shape_keeping_layers(
    model: nn.Module, partition: Partition, images: Tensor
) -> dict[int, nn.Module]:
    """The layers that are one module whose output has the shape of its input, by index."""
    owner, modules = module_layers(model, partition), dict(model.named_modules())
    whole: dict[nn.Module, int] = {}
    for index, layer in enumerate(partition.layers):
        path = _common_path(layer.parameters)
        if owner.get(path) == index:
            whole[modules[path]] = index
    found: dict[int, nn.Module] = {}

    def compare(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        given = inputs[0] if inputs else None
        if isinstance(given, Tensor) and isinstance(output, Tensor) and given.shape == output.shape:
            found[whole[module]] = module

    handles = [module.register_forward_hook(compare) for module in whole]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _common_path(parameters: Sequence[str]) -> str:
    """The dotted name of the innermost module that holds all the parameters."""
    paths = [name.split(".")[:-1] for name in parameters]
    depth = 0
    while all(len(path) > depth and path[depth] == paths[0][depth] for path in paths):
        depth += 1
    return ".".join(paths[0][:depth])


def has_no_identity(modules: Sequence[nn.Module]) -> bool:
    """Whether a layer of linear modules cannot be made the identity (the qkv of a ViT block)."""
    return all(isinstance(module, nn.Linear) for module in modules) and any(
        module.in_features != module.out_features
        for module in modules
        if isinstance(module, nn.Linear)
    )


# --- ablations ---------------------------------------------------------------------------------


def make_identity(module: nn.Module) -> None:
    """Make a convolution or a linear module the identity, as far as its shape allows.

    A rectangular one copies its first channels, a strided one samples. Grouped convolutions
    need their groups: without them a depthwise one would pass on its first channel alone.
    """
    with torch.no_grad():
        if _is_convolution(module):
            nn.init.dirac_(module.weight, groups=module.groups)
        elif isinstance(module, nn.Linear):
            nn.init.eye_(module.weight)
        else:
            raise TypeError(f"{type(module).__name__} has no identity")
        if module.bias is not None:
            module.bias.zero_()


def make_random(module: nn.Module, generator: torch.Generator) -> None:
    """Re-initialise a module's own parameters from a CPU generator, other random state untouched.

    Convolutions: Kaiming normal by fan-out, no bias. Linear modules: as PyTorch creates them.
    Norms: scale 1, shift 0; their running statistics stay.
    """
    from raysel.models.delimiter import NORMS  # noqa: PLC0415  (imports torch)

    with torch.no_grad():
        if isinstance(module, NORMS):
            own = dict(module.named_parameters(recurse=False))
            if "weight" in own:
                own["weight"].fill_(1.0)
            if "bias" in own:
                own["bias"].zero_()
        elif _is_weighted(module):
            _fill_randomly(module, generator)


def _fill_randomly(module: _Convolution | nn.Linear, generator: torch.Generator) -> None:
    fresh = torch.empty(module.weight.shape)
    if isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(max(1, module.in_features))
        fresh.uniform_(-bound, bound, generator=generator)
    else:
        bound = 0.0
        nn.init.kaiming_normal_(fresh, mode="fan_out", nonlinearity="relu", generator=generator)
    module.weight.copy_(fresh)
    if module.bias is not None:
        bias = torch.empty(module.bias.shape).uniform_(-bound, bound, generator=generator)
        module.bias.copy_(bias)


@contextmanager
def restored(*modules: nn.Module) -> Iterator[None]:
    """Put the modules' own parameters back at the end, bit for bit, whatever happens inside."""
    parameters = [p for module in modules for p in module.parameters(recurse=False)]
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


@contextmanager
def skipped(module: nn.Module) -> Iterator[None]:
    """The module passes its first input on."""
    handle = module.register_forward_hook(lambda _module, inputs, _output: inputs[0])
    try:
        yield
    finally:
        handle.remove()
