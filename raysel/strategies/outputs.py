"""A sample of a domain, and what each layer of the model puts out on it.

The output of layer l, f_{1:l}(x), is what the layer's last module gives in the order of
execution, with the activation function behind it; the head's are the logits. It is found by
running the model once, so the model's code need not be known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raysel.common.deferred_torch import Tensor, nn, torch
from raysel.models.partition_types import Partition
from raysel.strategies.base import Domain, Probe


def sample(probe: Probe, domain: Domain, count: int) -> list[tuple[Tensor, Tensor]]:
    """Images and labels of the domain's first `count` examples, in batches.

    Raises:
        ValueError: the domain has no example.
    """
    batches: list[tuple[Tensor, Tensor]] = []
    for batch in probe.batches(domain):
        if count > 0 and len(batch.labels):
            batches.append((batch.images[:count], batch.labels[:count]))
            count -= len(batch.labels)
    if not batches:
        raise ValueError(f"the {domain} has no examples")
    return batches


@dataclass(frozen=True)
class HookPoint:
    """Where a layer's output appears: a module, and which of its calls in one forward pass."""

    module: str
    call: int


def hook_points(model: nn.Module, partition: Partition, images: Tensor) -> list[HookPoint | None]:
    """Where the output of each of the L layers appears; None for a layer without a module of
    its own (one that is nothing but a position embedding).

    Args:
        images: [n, c, h, w], to run the model once.
    """
    owner = module_layers(model, partition)
    log: list[tuple[HookPoint, torch.Size]] = []
    calls: Counter[str] = Counter()

    def note(name: str, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is not None:
            log.append((HookPoint(name, calls[name]), tensor.shape))
        calls[name] += 1

    with _watching(model, owner, note), torch.no_grad():
        model(images)
    points = [_last_hook_point(log, owner, index) for index in range(len(partition))]
    if partition.head:
        points[partition.head_layer] = HookPoint("", 0)
    return points


def module_layers(model: nn.Module, partition: Partition) -> dict[str, int | None]:
    """The layer that each module is in as a whole, by the module's name.

    None for a module without parameters that is in no layer's module (an activation between
    two layers). Modules that span several layers are left out, and so are those outside of every
    layer's module whose parameters are of none (beside adapters the weights are).
    """
    layer_of = partition.layer_of
    known = {id(p): layer_of[name] for name, p in model.named_parameters() if name in layer_of}
    layers: dict[str, int | None] = {}

    def walk(name: str, module: nn.Module, around: int | None) -> None:
        parameters = [id(parameter) for parameter in module.parameters()]
        inside = {known[parameter] for parameter in parameters if parameter in known}
        own = around if not inside else next(iter(inside)) if len(inside) == 1 else None
        of_none = bool(parameters) and not inside and around is None
        if len(inside) <= 1 and not of_none:
            layers[name] = own
        for child, submodule in module.named_children():
            walk(f"{name}.{child}" if name else child, submodule, own)

    walk("", model, None)
    return layers


def _last_hook_point(
    log: list[tuple[HookPoint, torch.Size]], owner: dict[str, int | None], layer: int
) -> HookPoint | None:
    """The layer's last call, moved on over what follows without parameters or a new shape."""
    own = [index for index, (site, _) in enumerate(log) if owner[site.module] == layer]
    if not own:
        return None
    last = own[-1]
    for index in range(last + 1, len(log)):
        site, shape = log[index]
        if owner[site.module] is not None or shape != log[last][1]:
            break
        last = index
    return log[last][0]


def stream_outputs(
    model: nn.Module,
    points: list[HookPoint | None],
    batches: Iterable[Tensor],
    consume: Callable[[int, Tensor, int], None],
) -> None:
    """Run the model over batches of images and pass on each layer's output as it appears.

    Args:
        consume: gets the layer's index, its output, [n, ...], and how many examples came in
            earlier batches; nothing is kept for it.
    """
    layer_at = {site: index for index, site in enumerate(points) if site is not None}
    calls: Counter[str] = Counter()
    earlier = 0

    def note(name: str, output: Any) -> None:
        layer = layer_at.get(HookPoint(name, calls[name]))
        calls[name] += 1
        tensor = first_tensor(output)
        if layer is not None and tensor is not None:
            consume(layer, tensor, earlier)

    with _watching(model, {site.module for site in layer_at}, note), torch.no_grad():
        for images in batches:
            calls.clear()
            model(images)
            earlier += len(images)


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of a module's output: itself, or the first within a tuple or a dict."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, dict) else output
    if not isinstance(output, dict | tuple | list):
        return None
    return next((t for t in map(first_tensor, parts) if t is not None), None)


@contextmanager
def _watching(
    model: nn.Module, names: Iterable[str], note: Callable[[str, Any], None]
) -> Iterator[None]:
    """Call `note(name, output)` after every call of the named modules."""
    modules, handles = dict(model.named_modules(remove_duplicate=False)), []
    try:
        for name in names:
            handles.append(
                modules[name].register_forward_hook(
                    lambda _module, _inputs, output, name=name: note(name, output)
                )
            )
        yield
    finally:
        for handle in handles:
            handle.remove()
