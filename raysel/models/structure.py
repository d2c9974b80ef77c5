"""The layers of a model that timm does not group: its modules, cut where the blocks are.

One descends from the model into the module that holds nearly all parameters, until several
modules share them. Modules with children are blocks; what is between them (a norm, a
downsampling convolution, a class token) joins a block beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from raysel.models.delimiter import is_norm
from raysel.models.shapes import of_classifier

NEARLY_ALL = 0.9
"""A layer with a larger share of the parameters is hardly a choice among layers."""

_MOST, _FEW = 0.5, 3  # where there are fewer blocks, a module with most parameters is opened too
_LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


@dataclass(frozen=True)
class _Unit:
    """A module, or a parameter that a module with children owns itself (then None)."""

    path: str
    module: nn.Module | None
    names: tuple[str, ...]

    @property
    def is_block(self) -> bool:
        """Whether it is a module with children: a block, a stage, an embedding."""
        return self.module is not None and _is_composite(self.module)

    @property
    def joins_previous(self) -> bool:
        """A token or a norm belongs to what comes before, a convolution to what comes after."""
        return self.module is None or is_norm(self.module)


def structural_groups(model: nn.Module, fine: bool, uses: Mapping[str, int]) -> list[list[str]]:
    """The names of each layer's parameters, in the order of their first use.

    Args:
        fine: a layer is a block, not a stage of blocks.
        uses: when each parameter is first used.
    """
    units = _opened(model)
    if fine:
        units = [part for unit in units for part in _blocks_of(unit)]
    units = sorted(units, key=lambda unit: _begin(unit.names, uses))
    return merge_interleaved(_joined(model, units), uses)


def merge_interleaved(
    groups: Sequence[Sequence[str]], uses: Mapping[str, int], fewest: int = _FEW
) -> list[list[str]]:
    """Groups in the order of their use. Those that are used in turns become one, unless fewer
    than `fewest` are left then."""
    ordered = sorted(groups, key=lambda group: _begin(group, uses))
    merged: list[list[str]] = []
    for group in ordered:
        if merged and _begin(group, uses) < max(uses[name] for name in merged[-1]):
            merged[-1] += group
        else:
            merged.append(list(group))
    if len(merged) >= min(fewest, len(groups)):
        return merged
    return [list(group) for group in ordered]


def is_listed(path: str, model: nn.Module) -> bool:
    """Whether a path is that of a module with children in a list of modules."""
    *above, name = path.split(".")
    parent = model.get_submodule(".".join(above))
    child = dict(parent.named_children()).get(name)
    return isinstance(parent, _LISTS) and child is not None and _is_composite(child)


def listed_block_types(module: nn.Module) -> set[type[nn.Module]]:
    """The types of the blocks in a list of modules, or in lists in it: those with two weight
    matrices or more."""
    if not isinstance(module, _LISTS):
        return set()
    found: set[type[nn.Module]] = set()
    for child in module.children():
        if isinstance(child, _LISTS):
            found |= listed_block_types(child)
        elif is_block(child):
            found.add(type(child))
    return found


def is_block(module: nn.Module) -> bool:
    """Whether a module has children, and two weight matrices or more: a block, or several."""
    matrices = sum(parameter.ndim > 1 for parameter in module.parameters())
    return matrices > 1 and _is_composite(module)


def _opened(model: nn.Module) -> list[_Unit]:
    """The model's children, those that hold nearly all parameters replaced by theirs."""
    whole = sum(p.numel() for n, p in model.named_parameters() if not of_classifier(n, model))
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}

    def share(unit: _Unit) -> float:
        own = (sizes[name] for name in unit.names if not of_classifier(name, model))
        return sum(own) / max(1, whole)

    units = list(_parts(_Unit("", model, tuple(sizes))))
    while True:
        blocks = sum(unit.is_block for unit in units)
        limit = NEARLY_ALL if blocks >= _FEW else _MOST
        large = next((u for u in units if share(u) > limit and _holds_blocks(u)), None)
        if large is None:
            return units
        place = units.index(large)
        units[place : place + 1] = _parts(large)


def _holds_blocks(unit: _Unit) -> bool:
    """Whether to open a module shows blocks, and not convolutions alone, which begin no layer."""
    return unit.is_block and any(part.is_block for part in _parts(unit))


def _parts(unit: _Unit) -> Iterator[_Unit]:
    """A module's children with parameters, and its own parameters one by one."""
    assert unit.module is not None
    prefix = f"{unit.path}." if unit.path else ""
    left = list(unit.names)
    for name, child in unit.module.named_children():
        path = prefix + name
        own = tuple(n for n in left if n.startswith(path + "."))
        left = [n for n in left if n not in own]  # a module under two names occurs once
        if own:
            yield _Unit(path, child, own)
    for name in left:
        yield _Unit(name, None, (name,))


def _blocks_of(unit: _Unit) -> Iterator[_Unit]:
    """The blocks of a stage: the elements of its lists, and what is beside them."""
    if unit.module is None or not _has_listed_blocks(unit.module):
        yield unit
        return
    for part in _parts(unit):
        yield from _blocks_of(part)


def _has_listed_blocks(module: nn.Module) -> bool:
    """Whether it is a list of modules with children, or holds such a list."""
    lists = [m for m in (module, *module.children()) if isinstance(m, _LISTS)]
    return any(_is_composite(child) for found in lists for child in found.children())


def _joined(model: nn.Module, units: Sequence[_Unit]) -> list[list[str]]:
    """Blocks with what is between them; the head with what follows the last block."""
    head = [unit for unit in units if any(of_classifier(name, model) for name in unit.names)]
    body = [unit for unit in units if unit not in head]
    flat = sum(unit.is_block for unit in body) < _FEW  # then a convolution is a layer too

    def begins(unit: _Unit) -> bool:
        return unit.is_block or (flat and not unit.joins_previous)

    last = max((i for i, unit in enumerate(body) if begins(unit)), default=len(body) - 1)
    groups: list[list[str]] = []
    waiting: list[str] = []
    for unit in body[: last + 1]:
        if begins(unit):
            groups.append([*waiting, *unit.names])
            waiting = []
        elif unit.joins_previous and groups and not waiting:
            groups[-1].extend(unit.names)
        else:
            waiting.extend(unit.names)
    if waiting:
        groups.append(waiting)
    rest = [name for unit in (*body[last + 1 :], *head) for name in unit.names]
    return [*groups, rest] if rest else groups


def _begin(names: Sequence[str], uses: Mapping[str, int]) -> int:
    return min(uses[name] for name in names)


def _is_composite(module: nn.Module) -> bool:
    return any(next(child.parameters(), None) is not None for child in module.children())
