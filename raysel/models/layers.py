"""The partition of a model into layers: one object that every strategy uses.

"Layer" is the papers' word for one group of the partition. timm's own group matcher gives
the papers' counts (6, 14, 14 and 6 for WRN-50-2, ViT-S, ViT-B and ConvNeXt-T); decisions D1
and D2 of the algorithm notes are the two corrections on top of it. The block-wise paper's
literal cut is `raysel.models.delimiter`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from raysel.errors import nearest, user_error
from raysel.models import group_with_matcher, timm
from raysel.models.delimiter import NORMS, Untraceable, weight_runs
from raysel.models.head import Head, put_mlp_head
from raysel.models.input_size import size_arguments
from raysel.models.papers import hint
from raysel.models.patterns import PatternError, found_in
from raysel.unsupported import other_model

Rule = Literal["coarse", "fine", "delimiter"] | tuple[str, ...]
"""How to cut: timm's coarse or fine layers, at every non-weighting module, or by name
patterns, one a layer."""

_STEM, _HEAD = _PLACES = ("stem", "head")
"""Layers that are named by their place; no other layer has such a name."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layer:
    """One layer: a stable name and the names of its parameters, in forward order."""

    name: str
    parameters: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many scalars the layer has."""
        return sum(self.sizes)


@dataclass(frozen=True)
class Partition:
    """The layers of a model in forward order; every parameter is in exactly one.

    Attributes:
        layers: L layers.
        head: names of the classifier's own parameters (a part of the last layer where a
            final norm shares it); of all where a model has several.
    """

    layers: tuple[Layer, ...]
    head: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names in forward order."""
        return tuple(layer.name for layer in self.layers)

    @property
    def size(self) -> int:
        """How many scalars the model has."""
        return sum(layer.size for layer in self.layers)

    @property
    def layer_of(self) -> dict[str, int]:
        """The index of the layer of each parameter."""
        return {name: i for i, layer in enumerate(self.layers) for name in layer.parameters}

    @property
    def head_layer(self) -> int:
        """The index of the layer that holds the classifier; the last if there is none."""
        return self.layer_of[self.head[0]] if self.head else len(self) - 1

    def by_tensor(self) -> Partition:
        """The finest partition: each parameter tensor a layer of its own name."""
        single = (
            Layer(name, (name,), (size,))
            for layer in self.layers
            for name, size in zip(layer.parameters, layer.sizes, strict=True)
        )
        return Partition(tuple(single), self.head)


def partition(model: nn.Module, rule: Rule = "coarse") -> Partition:
    """Cut a model into named layers.

    Tied parameters belong to their first owner in forward order (D2); a warning is logged
    where their owners lie in different layers.

    Raises:
        UserError: a pattern matches nothing, a parameter matches no pattern, or the model
            cannot be traced for `delimiter`.
    """
    groups = _groups(model, rule)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    head = tuple(name for name in sizes if _of_classifier(name, model))
    names = rule if isinstance(rule, tuple) else _names(groups, sizes, head)
    layers = tuple(
        Layer(name, tuple(group), tuple(sizes[parameter] for parameter in group))
        for name, group in zip(names, groups, strict=True)
    )
    return Partition(layers, head)


@functools.lru_cache(maxsize=64)
def partition_of(
    name: str,
    rule: Rule,
    classes: int,
    channels: int = 3,
    head: Head = "linear",
    image_size: tuple[int, int] | None = None,
) -> Partition:
    """The partition of a timm model by its name, without allocating its weights.

    Arguments but the rule as in `shapes_of`.

    Raises:
        UserError: there is no such model (path `model.name`).
    """
    return partition(shapes_of(name, classes, channels, head, image_size), rule)


def shapes_of(
    name: str,
    classes: int,
    channels: int = 3,
    head: Head = "linear",
    image_size: tuple[int, int] | None = None,
) -> nn.Module:
    """A timm model without weights, on the meta device.

    Args:
        image_size: height and width, on which the position embeddings of a transformer
            depend; None is the model's own.

    Raises:
        UserError: there is no such model (path `model.name`).
    """
    if not timm.is_model(name):
        raise user_error("model.name", f'timm has no model "{name}"; {_nearest_model(name)}')
    with torch.device("meta"):
        model: nn.Module = timm.create_model(
            name, num_classes=classes, in_chans=channels, **size_arguments(name, image_size)
        )
        if head == "mlp":
            put_mlp_head(model, classifier_paths(model), classes)
    return model


def _nearest_model(name: str) -> str:
    if told := hint(name) or other_model(name):
        return told
    known = timm.list_models() + timm.list_models(pretrained=True)
    return nearest(name, known)


def classifier_paths(model: nn.Module) -> tuple[str, ...]:
    """The dotted names of the classifier's modules: one, several (a distilled transformer has
    a second, whose logits are averaged with the first one's), or none."""
    config = getattr(model, "pretrained_cfg", None) or {}
    path = config.get("classifier") or ()
    return tuple(path) if isinstance(path, list | tuple) else (str(path),)


def _groups(model: nn.Module, rule: Rule) -> list[list[str]]:
    """The names of each layer's parameters, in forward order; a tied tensor stands once."""
    keys = _pattern_keys(model, rule) if isinstance(rule, tuple) else _keys(model, rule)
    _warn_of_ties(model, keys)
    groups: dict[int, list[str]] = {}
    for name, _ in model.named_parameters():
        groups.setdefault(keys[name], []).append(name)
    ordered = _one_classifier(model, [groups[key] for key in sorted(groups)], rule)
    return _final_norm_to_head(model, ordered) if rule in ("coarse", "fine") else ordered


def _one_classifier(model: nn.Module, groups: list[list[str]], rule: Rule) -> list[list[str]]:
    """What is replaced for a new task is one layer: a second classifier beside the first, the
    two dense layers of a head that `delimiter` cuts at the activation between them."""
    own = [i for i, g in enumerate(groups) if any(_of_classifier(name, model) for name in g)]
    if len(own) < 2:
        return groups
    if isinstance(rule, tuple):
        told = " and ".join(f'"{rule[i]}"' for i in own)
        raise user_error("model.partition", f"{told} cut the classifier; give one pattern for it")
    merged = [name for index in own for name in groups[index]]
    before = [group for index, group in enumerate(groups[: own[-1]]) if index not in own]
    return [*before, merged, *groups[own[-1] + 1 :]]


def _keys(model: nn.Module, rule: str) -> dict[str, int]:
    """For every name of a parameter, those of tied ones too, the place of its layer."""
    if rule == "delimiter":
        return _run_keys(model)
    parameters = list(model.named_parameters(remove_duplicate=False))
    if hasattr(model, "group_matcher"):
        matcher = _matcher(model, rule)
        return dict(group_with_matcher(parameters, matcher, reverse=True))
    children = [child for child, module in model.named_children() if _has_parameters(module)]
    order = {child: index for index, child in enumerate(children)}
    # the model's own parameters (a position embedding) are added to what the stem gives
    return {name: order.get(name.split(".")[0], 0) for name, _ in parameters}


def _matcher(model: nn.Module, rule: str) -> dict[str, Any]:
    try:
        return dict(cast(Any, model).group_matcher(coarse=rule == "coarse"))
    except AssertionError as error:  # how timm says that a model has no coarse groups
        raise user_error("model.partition", f"not {rule} for this model: {error}") from None


def _run_keys(model: nn.Module) -> dict[str, int]:
    try:
        runs = weight_runs(model)
    except Untraceable as error:
        message = f"the model cannot be traced for delimiter ({error}); give coarse or fine"
        raise user_error("model.partition", message) from None
    return {name: index for index, run in enumerate(runs) for name in run}


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
    keys: dict[str, int] = {}
    for name in names:
        fits = (
            index
            for index, pattern in enumerate(patterns)
            if under(name, pattern) or name in found.get(pattern, ())
        )
        key = next(fits, None)
        if key is not None:
            keys[name] = key
    used = set()
    for name, _ in model.named_parameters():
        if name not in keys:
            raise user_error("model.partition", f'no pattern matches the parameter "{name}"')
        used.add(keys[name])
    for index, pattern in enumerate(patterns):
        if index not in used:
            raise user_error("model.partition", f'"{pattern}" matches no parameter')
    return keys


def _warn_of_ties(model: nn.Module, keys: Mapping[str, int]) -> None:
    """D2: to merge the owners' layers would change L, so a tie across layers is told instead."""
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = first.setdefault(id(parameter), name)
        if owner != name and keys.get(name) != keys[owner]:
            _log.warning("%s is tied to %s of another layer and moves with that one", name, owner)


def _final_norm_to_head(model: nn.Module, groups: list[list[str]]) -> list[list[str]]:
    """D1: a final norm between the last block and the classifier goes to the head's layer.

    Only a norm with no weight layer between it and the last block moves (errata 15): one
    that follows a convolution there belongs to that convolution.
    """
    if len(groups) < 2 or not any(_of_classifier(name, model) for name in groups[-1]):
        return groups
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name in groups[-2]))
    modules = dict(model.named_modules())
    top = {owner for owner in owners if "." not in owner}
    moved = [
        owner for owner in top if owner == owners[-1] and isinstance(modules.get(owner), NORMS)
    ]
    weights_on_top = [owner for owner in top if owner not in moved]
    if not moved or weights_on_top:
        return groups
    norm = [name for name in groups[-2] if name.rpartition(".")[0] in moved]
    rest = [name for name in groups[-2] if name not in norm]
    return [*groups[:-2], *([rest] if rest else []), norm + groups[-1]]


def _names(groups: list[list[str]], sizes: Mapping[str, int], head: tuple[str, ...]) -> list[str]:
    """`stem`, the module path of each layer in between, `head`.

    The path is the shortest one that leads to the layer's largest tensor and to no other
    layer's: `layer1`, `stages.0`, `blocks.11`, `conv_head`.
    """
    names = []
    for index, group in enumerate(groups):
        others = [name for other in groups if other is not group for name in other]
        largest = max(group, key=lambda name: sizes[name]).split(".")
        paths = (".".join(largest[:depth]) for depth in range(1, len(largest) + 1))
        path = next(
            path
            for path in paths
            if path not in _PLACES and not any(under(name, path) for name in others)
        )
        is_head = bool(set(head) & set(group))
        is_stem = index == 0 and len(groups) > 1
        names.append(_HEAD if is_head else _STEM if is_stem else path)
    return names


def _of_classifier(name: str, model: nn.Module) -> bool:
    return any(under(name, path) for path in classifier_paths(model))


def under(name: str, path: str) -> bool:
    """Whether a parameter is the one at a path, or belongs to the module there."""
    return bool(path) and (name == path or name.startswith(path + "."))


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None
