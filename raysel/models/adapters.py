"""LoRA: matrices of a low rank beside frozen linear layers, made and merged by `peft`.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2022), section 4.1. A linear layer
with the weight W of [out, in] becomes x -> W x + b + B A x, with A of [rank, in] and B of
[out, rank]. W and b stay; A begins as `peft` draws it and B with 0, so that the model begins as it
was. The paper's scaling alpha / rank is 1 here (docs/algorithms.md, D70).

An adapter belongs to the layer of the weight that it stands beside, so that a strategy chooses
among the same layers as without; layers without adapters never move and are not of the partition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from raysel.common.errors import user_error
from raysel.common.text import and_more, quoted
from raysel.models.adapter_package import why_no_adapters
from raysel.models.forward import ForwardError, Image, first_uses
from raysel.models.kinds import kinds_of
from raysel.models.partition_types import Kind, Layer, Partition
from raysel.models.patterns import PatternError, found_in
from raysel.models.shapes import of_classifier, under
from raysel.spec.model import AdapterSpec

_ADAPTER, _TARGETS, _RANK = "model.adapter", "model.adapter.targets", "model.adapter.rank"
_DOWN, _UP = "lora_A.default.weight", "lora_B.default.weight"
"""peft's names of A and B below the linear layer's."""

_SHOWN = 3


@dataclass(frozen=True)
class _Target:
    """A linear layer beside whose weight an adapter stands."""

    path: str
    inputs: int
    outputs: int
    kind: Kind

    @property
    def largest_rank(self) -> int:
        """Of B A."""
        return min(self.inputs, self.outputs)


def put_adapters(model: nn.Module, adapter: AdapterSpec) -> None:
    """Put an adapter beside each target, in place; torch's random state gives the first A.

    Raises:
        UserError: the model has no such targets, the rank is too large, or `peft` is not here
            (paths below `model.adapter`).
    """
    peft = _peft()
    paths = [re.escape(target.path) for target in _targets(model, adapter)]
    config = peft.LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.rank,
        lora_dropout=0.0,
        target_modules="|".join(paths),  # one text is a pattern of the whole name
    )
    peft.inject_adapter_in_model(config, model)


def merge_adapters(model: nn.Module) -> None:
    """Add B A to the weights that adapters stand beside, and take the adapters out, in place.

    A model without adapters stays as it is.
    """
    if not hasattr(model, "peft_config"):
        return
    from peft.tuners.lora import LoraLayer  # noqa: PLC0415  (slow, and seldom needed)

    for path, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            model.set_submodule(path, module.get_base_layer())
    del model.peft_config


def adapted_partition(
    model: nn.Module, layers: Partition, adapter: AdapterSpec, image: Image | None
) -> Partition:
    """The layers of a model with adapters: of each layer the adapters in it, and the classifier.

    Args:
        model: without adapters, on the meta device; it gets them.
        layers: of the model without adapters.
        image: channels, height and width of the images; None is the model's own.

    Raises:
        UserError: as `put_adapters`; or the model reads a target's weight itself instead of
            calling the layer, so that an adapter there would do nothing.
    """
    targets = {f"{t.path}.weight": t for t in _targets(model, adapter)}
    put_adapters(model, adapter)
    _refuse_unused(model, image)
    head = set(layers.head)
    found = []
    for layer in layers.layers:
        named = list(_adapted(layer, targets, adapter.rank, head))
        if named:
            names, sizes, kinds = zip(*named, strict=True)
            found.append(Layer(layer.name, names, sizes, kinds))
    adapted = Partition(tuple(found), layers.head)
    moving, fixed = adapted.size, layers.size - sum(_sizes_of(layers, head))
    many = f"lora of rank {adapter.rank} beside {len(targets)} linear layers"
    note = f"{many}: with the classifier {moving:,} parameters; {fixed:,} others never move"
    return replace(adapted, notes=(*layers.notes, note))


def _adapted(
    layer: Layer, targets: dict[str, _Target], rank: int, head: set[str]
) -> Iterator[tuple[str, int, Kind]]:
    """What of a layer moves: name, size and kind of each tensor."""
    for place, (name, size) in enumerate(zip(layer.parameters, layer.sizes, strict=True)):
        target = targets.get(name)
        if target is not None:
            yield f"{target.path}.{_DOWN}", rank * target.inputs, target.kind
            yield f"{target.path}.{_UP}", rank * target.outputs, target.kind
        elif name in head:
            yield name, size, layer.kinds[place] if layer.kinds else "other"


def _sizes_of(layers: Partition, names: set[str]) -> Iterator[int]:
    for layer in layers.layers:
        for name, size in zip(layer.parameters, layer.sizes, strict=True):
            if name in names:
                yield size


def _targets(model: nn.Module, adapter: AdapterSpec) -> list[_Target]:
    """The linear layers that are adapted.

    Raises:
        UserError: there are none, or the rank is more than they can have.
    """
    linear = list(_linear_layers(model))
    if not linear:
        words = "the model has no linear layer beside its classifier; leave model.adapter out"
        raise user_error(_ADAPTER, words)
    if isinstance(adapter.targets, tuple):
        return _of_rank(_matching(linear, adapter.targets), adapter.rank, every=True)
    found = _of_kind(linear, adapter)
    return _of_rank(found, adapter.rank, every=False)


def _of_kind(linear: list[_Target], adapter: AdapterSpec) -> list[_Target]:
    """Those of attention, of MLPs, or all."""
    wanted = adapter.targets
    found = [one for one in linear if wanted in ("all", one.kind)]
    if not found:
        names = and_more([one.path for one in linear], _SHOWN)
        way_on = f"give all, or a list of name patterns; there is {names}"
        raise user_error(_TARGETS, f"the model has no linear layer of kind {wanted}; {way_on}")
    return found


def _of_rank(found: list[_Target], rank: int, every: bool) -> list[_Target]:
    """The layers that can have so high a rank.

    Args:
        every: whether all have to: they were listed. Of a kind some may be small, such as the
            network of two inputs that gives Swin's attention its position biases.
    """
    by_rank = sorted(found, key=lambda one: one.largest_rank)
    limit = by_rank[0 if every else -1]
    if rank > limit.largest_rank:
        shape = f"{limit.path} is {limit.outputs} x {limit.inputs}"
        words = f"{rank} is not a low rank: {shape}; give at most {limit.largest_rank}"
        raise user_error(_RANK, words)
    return [one for one in found if rank <= one.largest_rank]


def _linear_layers(model: nn.Module) -> Iterator[_Target]:
    """Those beside the classifier whose weight is no other module's."""
    kinds = kinds_of(model)
    for path, module in model.named_modules():
        weight = f"{path}.weight"
        if not isinstance(module, nn.Linear) or of_classifier(weight, model):
            continue
        if weight in kinds:  # a tied one has its first name alone
            yield _Target(path, module.in_features, module.out_features, kinds[weight])


def _matching(linear: list[_Target], patterns: tuple[str, ...]) -> list[_Target]:
    """Prefixes of dotted names, or regular expressions found in them, as in `model.partition`."""
    paths = [one.path for one in linear]
    taken: set[str] = set()
    for pattern in patterns:
        try:
            own = {path for path in paths if under(path, pattern)} or found_in(pattern, paths)
        except PatternError as error:
            raise user_error(_TARGETS, str(error)) from None
        if not own:
            there = f"there is {and_more(paths, _SHOWN)}"
            words = f"{quoted(pattern)} matches no linear layer beside the classifier; {there}"
            raise user_error(_TARGETS, words)
        taken |= own
    return [one for one in linear if one.path in taken]


def _refuse_unused(model: nn.Module, image: Image | None) -> None:
    """A model that computes with a layer's weight and does not call the layer (BEiT's qkv, torch's
    own attention) never meets the adapter."""
    try:
        used, _ = first_uses(model, image)
    except ForwardError:  # it runs with data alone; the partition has a note of it
        return
    unused = [
        name.removesuffix(f".{_UP}")
        for name, _ in model.named_parameters()
        if name.endswith(_UP) and name not in used
    ]
    if unused:
        what = f"the model does not call {and_more(unused, _SHOWN)} but reads the weights itself"
        words = f"{what}, so that adapters there would do nothing; list other layers"
        raise user_error(_TARGETS, words)


def _peft() -> Any:
    if why := why_no_adapters():
        raise user_error(_ADAPTER, why)
    import peft  # noqa: PLC0415  (slow, and seldom needed)

    return peft
