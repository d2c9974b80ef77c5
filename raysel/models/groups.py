"""timm's coarse and fine groups of a model's parameters, where they say something.

A group matcher is a list of expressions over names, and names do not know when a module runs.
So its groups are put in the order of the forward pass: single parameters that are used among
another group's go there, blocks leave the head. Where more than that is wrong, or there is no
matcher, the model's own structure is taken (`raysel.models.structure`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn

from raysel.models.delimiter import is_norm
from raysel.models.head import as_leaves
from raysel.models.shapes import of_classifier, under
from raysel.models.structure import (
    NEARLY_ALL,
    is_listed,
    listed_block_types,
    merge_interleaved,
    structural_groups,
)
from raysel.models.timm_models import group_with_matcher

_FEW_MOVED = 0.02  # of the parameters: a table of positions, a token, no block
_FEW = 4  # groups: a stem, a body that is all of the model, a neck, a head

Groups = list[list[str]]


def forward_groups(model: nn.Module, fine: bool, uses: Mapping[str, int]) -> Groups:
    """The names of each layer's parameters, in the order of the forward pass.

    Args:
        fine: timm's finer groups.
        uses: when each parameter is first used.
    """
    found = _matched(model, fine, uses)
    groups = structural_groups(model, fine, uses) if found is None else found
    return _final_norm_to_head(model, groups, uses)


def blocks_in_head(model: nn.Module, head: Sequence[str], others: Sequence[str]) -> list[str]:
    """The paths of the blocks that are in the head's layer, beside the classifier.

    A block is an element of a list of which others are not in the head, or is of a type of
    which others are not.
    """
    types = {type(model.get_submodule(path)) for path in _ancestors(others)}
    found = []
    for path in own_paths(head, others):
        if any(under(name, path) and of_classifier(name, model) for name in head):
            continue
        if _in_listed_block(path, model) or _list_types(model, path) & types:
            found.append(path)
    return found


def _matched(model: nn.Module, fine: bool, uses: Mapping[str, int]) -> Groups | None:
    """timm's groups in the order of the forward pass; None where they make no sense."""
    try:
        with as_leaves(model):
            matcher = cast(Any, model).group_matcher(coarse=not fine)
        names = [(name, None) for name, _ in model.named_parameters()]
        keys: dict[str, int] = dict(group_with_matcher(names, matcher, reverse=True))
    except Exception:  # none, none of this kind, or one that its own model's names break
        return None
    if set(keys) != set(uses):
        return None
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    groups, moved = _in_forward_order(_by_key(keys), uses, sizes, _fixed(model, uses))
    largest = max(groups, key=lambda group: _size(group, sizes))
    too_large = _size(largest, sizes) > NEARLY_ALL * _size(keys, sizes)
    is_head = any(of_classifier(name, model) for name in largest)
    if moved > _FEW_MOVED or (too_large and not is_head and len(groups) <= _FEW):
        return None
    return _blocks_out_of_head(model, groups, uses)


def _by_key(keys: Mapping[str, int]) -> Groups:
    groups: dict[int, list[str]] = {}
    for name, key in keys.items():
        groups.setdefault(key, []).append(name)
    return [groups[key] for key in sorted(groups)]


def _fixed(model: nn.Module, uses: Mapping[str, int]) -> set[str]:
    """A classifier stays the last layer, whenever it runs."""
    return {name for name in uses if of_classifier(name, model)}


def _in_forward_order(
    groups: Groups, uses: Mapping[str, int], sizes: Mapping[str, int], fixed: set[str]
) -> tuple[Groups, float]:
    """Groups that are used one after the other, and the share of parameters that moved for it.

    Of all ways to move parameters the one that moves the fewest scalars: what stays is the
    heaviest subsequence, in the order of use, whose groups do not decrease.
    """
    groups = sorted(
        groups, key=lambda group: (bool(fixed & set(group)), _middle(group, uses, sizes))
    )
    group_of = {name: index for index, group in enumerate(groups) for name in group}
    order = sorted((name for name in uses if name not in fixed), key=lambda name: uses[name])
    staying = set(_heaviest_chain([(group_of[name], sizes[name]) for name in order]))
    moved, current = 0, group_of[order[min(staying)]] if order else 0
    for place, name in enumerate(order):
        if place in staying:
            current = group_of[name]
        else:
            moved += sizes[name]
            group_of[name] = current
    placed: Groups = [[] for _ in groups]
    for name in uses:  # in the model's own order
        placed[group_of[name]].append(name)
    return [group for group in placed if group], moved / max(1, _size(uses, sizes))


def _heaviest_chain(items: Sequence[tuple[int, int]]) -> list[int]:
    """The places of the heaviest subsequence of (group, weight) whose groups do not decrease."""
    count = 1 + max((group for group, _ in items), default=0)
    best = [0] * count  # the weight of the heaviest chain that ends in each group
    last: list[int | None] = [None] * count  # and its last place
    before: list[int | None] = []
    for place, (group, weight) in enumerate(items):
        # at equal weight the group itself continues
        source = max(range(group, -1, -1), key=lambda g: best[g])
        before.append(last[source])
        best[group], last[group] = best[source] + weight, place
    place_or_none = last[max(range(count), key=lambda g: best[g])] if items else None
    chain = []
    while place_or_none is not None:
        chain.append(place_or_none)
        place_or_none = before[place_or_none]
    return chain[::-1]


def _middle(group: Sequence[str], uses: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    """The use before and after which half of a group's scalars are first used."""
    half, passed = _size(group, sizes) / 2, 0
    for name in sorted(group, key=lambda name: uses[name]):
        passed += sizes[name]
        if passed >= half:
            return uses[name]
    return 0


def _blocks_out_of_head(model: nn.Module, groups: Groups, uses: Mapping[str, int]) -> Groups:
    """Blocks that timm leaves in the head's group become layers before it."""
    head = groups[-1]
    others = [name for group in groups[:-1] for name in group]
    if not any(of_classifier(name, model) for name in head):
        return groups
    blocks = blocks_in_head(model, head, others)
    if not blocks:
        return groups
    end = max(uses[name] for name in head if any(under(name, path) for path in blocks))
    parts = [
        part
        for path in own_paths(head, others)
        if uses[(part := [name for name in head if under(name, path)])[0]] <= end
        and not any(of_classifier(name, model) for name in part)
    ]
    body = {name for part in parts for name in part}
    rest = [name for name in head if name not in body]
    return [*groups[:-1], *merge_interleaved(parts, uses, fewest=1), rest]


def own_paths(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """The shortest paths below which are no parameters but the given ones."""
    taken = _ancestors(others) | set(others)
    paths: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        prefixes = (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        paths[next((path for path in prefixes if path not in taken), name)] = None
    return list(paths)


def _ancestors(names: Sequence[str]) -> set[str]:
    """The paths of all modules that lead to parameters."""
    return {
        ".".join(parts[:depth])
        for parts in (name.split(".") for name in names)
        for depth in range(1, len(parts))
    }


def _in_listed_block(path: str, model: nn.Module) -> bool:
    """Whether a path leads into a block of a list, below the model's own children."""
    parts = path.split(".")
    return any(is_listed(".".join(parts[:depth]), model) for depth in range(2, len(parts) + 1))


def _list_types(model: nn.Module, path: str) -> set[type[nn.Module]]:
    modules = dict(model.named_modules())
    return listed_block_types(modules[path]) if path in modules else set()


def _final_norm_to_head(model: nn.Module, groups: Groups, uses: Mapping[str, int]) -> Groups:
    """D1: a final norm between the last block and the classifier goes to the head's layer.

    Only a norm with no weight layer between it and the last block moves (docs/algorithms.md): one
    that follows a convolution beside it belongs to that convolution.
    """
    if len(groups) < 2 or not any(of_classifier(name, model) for name in groups[-1]):
        return groups
    modules = dict(model.named_modules())
    owners = list(dict.fromkeys(_owner(n) for n in sorted(groups[-2], key=lambda n: uses[n])))
    outside = _ancestors([name for group in (*groups[:-2], groups[-1]) for name in group]) | {""}
    moved: list[str] = []
    while owners and is_norm(modules[owners[-1]]) and _owner(owners[-1]) in outside:
        moved.append(owners.pop())
    if not moved or {_owner(path) for path in owners} & {_owner(path) for path in moved}:
        return groups
    norm = [name for name in groups[-2] if _owner(name) in moved]
    rest = [name for name in groups[-2] if name not in norm]
    return [*groups[:-2], *([rest] if rest else []), norm + groups[-1]]


def _owner(path: str) -> str:
    return path.rpartition(".")[0]


def _size(names: Any, sizes: Mapping[str, int]) -> int:
    return sum(sizes[name] for name in names)
