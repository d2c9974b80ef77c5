"""The partition of a model into layers: one object that every strategy uses.

"Layer" is the papers' word for one group of the partition. timm's own group matcher gives
the papers' counts (6, 14, 14 and 6 for WRN-50-2, ViT-S, ViT-B and ConvNeXt-T); D1 and
D2 of docs/algorithms.md are the two corrections on top of it. The block-wise paper's
literal cut is `raysel.models.delimiter`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import nn

from raysel.common.errors import UserError, user_error
from raysel.common.text import and_more, quoted
from raysel.models.adapters import adapted_partition
from raysel.models.compatibility import ModelRequirements, check_logits, incompatible
from raysel.models.delimiter import Trace, traced
from raysel.models.forward import ForwardError, Image, NeedsData, own_image
from raysel.models.groups import blocks_in_head, forward_groups, own_paths
from raysel.models.kinds import kinds_of
from raysel.models.partition_types import Head, Layer, Partition, Rule
from raysel.models.patterns import PatternError, found_in
from raysel.models.shapes import of_classifier, shapes_of, under
from raysel.models.structure import NEARLY_ALL, is_block
from raysel.models.timm_models import current_name
from raysel.spec.model import AdapterSpec

__all__ = ["Layer", "Partition", "Rule", "partition", "partition_of", "shapes_of", "whole"]

_STEM, _HEAD = _PLACES = ("stem", "head")
"""Layers that are named by their place; no other layer has such a name."""

_WHOLE = "model"

_TIES_SHOWN = 2
_TIED = " is tied to "

_log = logging.getLogger(__name__)


def partition(model: nn.Module, rule: Rule = "coarse", image: Image | None = None) -> Partition:
    """Cut a model into named layers.

    Tied parameters belong to their first owner in forward order (D2); a warning is logged
    where their owners are in different layers.

    Args:
        image: channels, height and width of the images; None is the model's own. A model that
            cannot be run without data is cut in the order of its modules.

    Raises:
        UserError: a pattern matches nothing, a parameter matches no pattern, or the model
            cannot be traced for `delimiter`.
    """
    trace: Trace | ForwardError
    try:
        trace = traced(model, image)
    except ForwardError as error:
        trace = error
    found = _partition(model, rule, trace)
    for note in found.notes:
        if _TIED in note:
            _log.warning("%s", note)
    return found


def whole(model: nn.Module) -> Partition:
    """The model as one layer, where no rule is to choose among layers (a source model)."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    head = tuple(name for name in sizes if of_classifier(name, model))
    return Partition((Layer(_WHOLE, tuple(sizes), tuple(sizes.values())),), head)


@functools.lru_cache(maxsize=64)
def partition_of(
    name: str,
    rule: Rule,
    classes: int,
    channels: int = 3,
    head: Head = "linear",
    image_size: tuple[int, int] | None = None,
    adapter: AdapterSpec | None = None,
) -> Partition:
    """The partition of a timm model by its name, without allocating its weights.

    Arguments but the rule as in `shapes_of`.

    Args:
        adapter: what stands beside the frozen weights and moves in their place.

    Raises:
        UserError: there is no such model (path `model.name`), it does not run on images of
            that size (`task.image_size`), the adapter does not fit it, or see `partition`.
    """
    wanted = ModelRequirements(name, classes, channels, head, image_size)
    trace: Trace | ForwardError
    try:
        model = shapes_of(name, classes, channels, head, image_size)
        trace = traced(model, (channels, *(image_size or own_image(model)[1:])))
        if image_size is not None:
            check_logits(trace.output, wanted)
    except UserError:
        raise
    except NeedsData as error:
        trace = error
    except Exception as error:  # timm's builders and layers raise exceptions of many types
        raise incompatible(wanted, error) from None
    found = _partition(model, rule, trace)
    if adapter is not None:
        size = image_size or own_image(model)[1:]
        found = adapted_partition(model, found, adapter, (channels, *size))
    today = current_name(name)
    renamed = () if today is None else (f"timm calls {name} {today} today",)
    return replace(found, notes=(*renamed, *found.notes))


def _partition(model: nn.Module, rule: Rule, trace: Trace | ForwardError) -> Partition:
    """The layers of a model that was run without data, or could not be."""
    groups, ties, rule = _groups(model, rule, trace)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    head = tuple(name for name in sizes if of_classifier(name, model)) or _last_used(groups, trace)
    names = rule if isinstance(rule, tuple) else _names(model, groups, sizes, head)
    kinds = kinds_of(model)
    layers = tuple(
        Layer(name, tuple(group), tuple(sizes[p] for p in group), tuple(kinds[p] for p in group))
        for name, group in zip(names, groups, strict=True)
    )
    unchecked = [f"whether the model runs on images of this size is not known: {trace}"]
    notes = unchecked if isinstance(trace, ForwardError) else []
    unused = _unused(layers, trace)
    if unused:
        notes = [f"the model does not use {and_more(unused, 3)} for an answer: it cannot learn"]
    return Partition(layers, head, (*notes, *_notes(model, layers, head), *ties), unused)


def _unused(layers: Sequence[Layer], trace: Trace | ForwardError) -> tuple[str, ...]:
    if isinstance(trace, ForwardError):
        return ()
    return tuple(one.name for one in layers if not any(p in trace.uses for p in one.parameters))


def _last_used(groups: Sequence[Sequence[str]], trace: Trace | ForwardError) -> tuple[str, ...]:
    """Of a model that names no classifier the parameters of the last layer that its forward pass
    uses, where unused ones come after it; else none, and the last layer counts."""
    if isinstance(trace, ForwardError):
        return ()
    used = [group for group in groups if any(name in trace.uses for name in group)]
    return tuple(used[-1]) if used and used[-1] is not groups[-1] else ()


def _uses(model: nn.Module, trace: Trace | ForwardError) -> dict[str, int]:
    """When each parameter is used; what is not, with the one before it in the model. Where that
    is not known, in the model's own order."""
    found, current = {}, 0
    for place, (name, _) in enumerate(model.named_parameters()):
        current = place if isinstance(trace, ForwardError) else trace.uses.get(name, current)
        found[name] = current
    return found


def _notes(model: nn.Module, layers: Sequence[Layer], head: Sequence[str]) -> Iterator[str]:
    """Where a partition leaves little to choose, or a layer is not what its name says."""
    whole = sum(layer.size for layer in layers)
    largest = max(layers, key=lambda layer: layer.size, default=None)
    if len(layers) == 1:
        yield "the whole model is one layer: there is none to choose"
    elif largest is not None and largest.size > NEARLY_ALL * whole:
        share = largest.size / whole
        yield f"the layer {largest.name} has {share:.1%} of the parameters"
    if fixed := [
        name for name, parameter in model.named_parameters() if not parameter.requires_grad
    ]:
        held = "is held fixed" if len(fixed) == 1 else "are held fixed"
        yield f"{and_more(fixed, 3)} {held} by the model's own code; here a layer moves whole"
    own = next((layer for layer in layers if set(layer.parameters) & set(head)), None)
    if own is None:
        return
    others = [name for layer in layers if layer is not own for name in layer.parameters]
    blocks = blocks_in_head(model, own.parameters, others) or _of_patterns(model, own, others)
    if blocks:
        more = f" and {len(blocks) - 1} more" if len(blocks) > 1 else ""
        held = f"the classifier and parts of blocks ({blocks[0]}{more})"
        yield f"the layer {own.name} holds {held}; linear_probe moves the classifier alone"


def _of_patterns(model: nn.Module, head: Layer, others: Sequence[str]) -> list[str]:
    """The blocks beside the classifier where only the head's layer has any: patterns can do so."""
    modules = dict(model.named_modules())
    return [
        path
        for path in own_paths(head.parameters, others)
        if path in modules
        and is_block(modules[path])
        and not any(under(name, path) and of_classifier(name, model) for name in head.parameters)
    ]


def _groups(
    model: nn.Module, rule: Rule, trace: Trace | ForwardError
) -> tuple[list[list[str]], list[str], Rule]:
    """The names of each layer's parameters, in forward order; a tied tensor occurs once. Which are
    tied across layers, in a sentence. And the rule, its patterns in the layers' order."""
    uses = _uses(model, trace)
    if rule in ("coarse", "fine"):
        groups = forward_groups(model, rule == "fine", uses)
        keys = _keys_by_place(model, groups)
    else:
        keys = _pattern_keys(model, rule) if isinstance(rule, tuple) else _run_keys(trace)
        found: dict[int, list[str]] = {}
        for name, _ in model.named_parameters():
            found.setdefault(keys[name], []).append(name)
        order = sorted(found)
        if isinstance(rule, tuple):  # of those that match a name the first listed takes it
            order.sort(key=lambda key: _place(model, found[key], uses))
            rule = tuple(rule[key] for key in order)
        groups = [found[key] for key in order]
    return _one_classifier(model, groups, rule), _ties(model, keys), rule


def _place(model: nn.Module, group: Sequence[str], uses: Mapping[str, int]) -> tuple[bool, int]:
    """Where a layer stands: by its first use, the classifier's last."""
    is_last = any(of_classifier(name, model) for name in group)
    return is_last, min(uses[name] for name in group)


def _one_classifier(model: nn.Module, groups: list[list[str]], rule: Rule) -> list[list[str]]:
    """What is replaced for a new task is one layer: a second classifier beside the first, the
    two dense layers of a head that `delimiter` cuts at the activation between them."""
    own = [i for i, g in enumerate(groups) if any(of_classifier(name, model) for name in g)]
    if len(own) < 2:
        return groups
    if isinstance(rule, tuple):
        patterns = " and ".join(f'"{rule[i]}"' for i in own)
        raise user_error(
            "model.partition", f"{patterns} cut the classifier; give one pattern for it"
        )
    merged = [name for index in own for name in groups[index]]
    before = [group for index, group in enumerate(groups[: own[-1]]) if index not in own]
    return [*before, merged, *groups[own[-1] + 1 :]]


def _keys_by_place(model: nn.Module, groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """For every name of a parameter the index of its layer; another name of a tied one counts
    to the layer of its neighbours, those with which it shares the longest path."""
    keys = {name: index for index, group in enumerate(groups) for name in group}
    neighbours: dict[str, int] = {}
    for name, index in keys.items():
        for path in _paths_above(name):
            neighbours.setdefault(path, index)
    for name, _ in model.named_parameters(remove_duplicate=False):
        if name not in keys:
            near = next((path for path in _paths_above(name) if path in neighbours), None)
            keys[name] = -1 if near is None else neighbours[near]
    return keys


def _paths_above(name: str) -> list[str]:
    """The modules that lead to a parameter, the nearest first."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]


def _run_keys(trace: Trace | ForwardError) -> dict[str, int]:
    if isinstance(trace, ForwardError):
        message = f"the model cannot be traced for delimiter ({trace}); give coarse or fine"
        raise user_error("model.partition", message)
    return {name: index for index, run in enumerate(trace.runs) for name in run}


def _pattern_keys(model: nn.Module, patterns: Sequence[str]) -> dict[str, int]:
    """A layer a pattern: a prefix of dotted names, or a regular expression found in them.

    What is the prefix of a name is no expression beside: `conv1` is not every `layer2.0.conv1`.
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    try:
        found = {
            pattern: found_in(pattern, names)
            for pattern in dict.fromkeys(patterns)
            if not any(under(name, pattern) for name in names)
        }
    except PatternError as error:
        raise user_error("model.partition", str(error)) from None
    matched = {
        pattern: {name for name in names if under(name, pattern)} | set(found.get(pattern, ()))
        for pattern in patterns
    }
    keys: dict[str, int] = {}
    for name in names:
        key = next((i for i, pattern in enumerate(patterns) if name in matched[pattern]), None)
        if key is not None:
            keys[name] = key
    used = set()
    for name, _ in model.named_parameters():
        if name not in keys:
            raise user_error("model.partition", f'no pattern matches the parameter "{name}"')
        used.add(keys[name])
    for index, pattern in enumerate(patterns):
        if index not in used:
            takers = dict.fromkeys(
                patterns[keys[name]] for name in names if name in matched[pattern]
            )
            what = f'"{pattern}" matches no parameter'
            if takers:
                above = and_more([quoted(taker) for taker in takers])
                what += f" that is left: what it matches is taken by {above} before it"
            raise user_error("model.partition", what)
    return keys


def _ties(model: nn.Module, keys: Mapping[str, int]) -> list[str]:
    """D2: to merge the owners' layers would change L, so a tie across layers is reported."""
    first: dict[int, str] = {}
    tied = []
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = first.setdefault(id(parameter), name)
        if owner != name and keys.get(name) != keys[owner]:
            tied.append(f"{name}{_TIED}{owner}")
    if len(tied) == 1:
        return [f"{tied[0]} of another layer and moves with that one"]
    shown = "; ".join(tied[:_TIES_SHOWN]) + ("; …" if len(tied) > _TIES_SHOWN else "")
    many = f"{len(tied)} parameters are tied to those of another layer and move with them: {shown}"
    return [many] if tied else []


def _names(
    model: nn.Module, groups: list[list[str]], sizes: Mapping[str, int], head: tuple[str, ...]
) -> list[str]:
    """`stem`, the module path of each layer in between, `head`.

    The path is that of the module, of those that hold no other layer's parameters, which has the
    most of the layer's, a block before a convolution: `layer1`, `stages.0`, `blocks.11`.
    """
    modules = dict(model.named_modules())
    names = []
    for index, group in enumerate(groups):
        others = [name for other in groups if other is not group for name in other]
        paths = own_paths(group, [*others, *_PLACES])
        shares = {path: sum(sizes[name] for name in group if under(name, path)) for path in paths}
        blocks = [path for path in paths if path in modules and is_block(modules[path])]
        is_head = bool(set(head) & set(group))
        is_stem = index == 0 and len(groups) > 1
        largest = max(blocks or paths, key=shares.__getitem__)
        # blocks in a module that is called head and is no classifier (selecsls's)
        place = next((path for path in own_paths(group, others) if path in _PLACES), None)
        block = f"{place}_blocks" if place and largest in modules else largest
        names.append(_HEAD if is_head else _STEM if is_stem else block)
    return names
