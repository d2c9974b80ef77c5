"""Weights whose names are not the model's, taken by their position in the checkpoint.

A checkpoint of the same network from another library has the same tensors in the same order under
other names. They are taken by position where everything that can be compared agrees:

- as many tensors, each of the model's shape and role (the last part of its name: `weight`,
  `running_mean` …), so that a convolution is none but a convolution and a norm none but a norm;
- the tensors that belong to one module here belong to one module there;
- a name that both have is at one position;
- the numbers in the checkpoint's names ascend: `blocks.3` before `blocks.1` is another order;
- no two modules of one kind and shape change places between blocks: where `a` is `conv1` and `b`
  is `conv2` in one block, `b` is not `conv1` and `a` `conv2` in another.

What cannot be noticed are modules of one kind and shape in another order throughout, under names
without numbers. Counters of batches are left aside, and so is the classifier: one at the end, on as
many features, may have other classes or be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, groupby

from torch import Tensor, nn

from raysel.models.shapes import of_classifier

_NUMBER = re.compile(r"(\d+)(?=\.)")


class NotByPosition(ValueError):
    """The order does not agree; its text says where."""


def is_counter(name: str) -> bool:
    """Batch norm's count of batches, which torch keeps since 1.0 and nothing here reads."""
    return name.endswith(".num_batches_tracked")


def by_position(given: Mapping[str, Tensor], model: nn.Module) -> dict[str, str]:
    """The model's names of a checkpoint's tensors: its own name -> the checkpoint's.

    Args:
        given: the checkpoint's tensors in its order.
        model: only names and shapes are read; it may be on the meta device.

    Raises:
        NotByPosition: what does not agree, the first of it.
    """
    own = {n: t for n, t in model.state_dict().items() if not is_counter(n)}
    body = [name for name in own if not of_classifier(name, model)]
    classifier = [name for name in own if of_classifier(name, model)]
    if list(own) != [*body, *classifier]:
        raise NotByPosition("the model's classifier is not the last of its modules")
    theirs = [name for name in given if not is_counter(name)]
    pairs = list(zip(theirs, body, strict=False))
    for place, (name, mine) in enumerate(pairs):
        if _role(name) != _role(mine) or given[name].shape != own[mine].shape:
            different = f"{_shown(name, given)} for {_shown(mine, own)}"
            raise NotByPosition(f"the first {place} agree, then {different}")
    rest = theirs[len(body) :]
    if len(theirs) < len(body) or not _is_classifier(rest, given, [own[n] for n in classifier]):
        raise NotByPosition(f"{len(theirs)} tensors for {len(own)}")
    _check_modules(pairs)
    _check_shared_names(pairs)
    _check_numbers(theirs)
    _check_places(pairs, given)
    same = len(rest) == len(classifier) and all(
        given[name].shape == own[mine].shape for name, mine in zip(rest, classifier, strict=True)
    )
    ends = list(zip(rest, classifier, strict=True)) if same else []
    return {mine: name for name, mine in [*pairs, *ends]}


def _role(name: str) -> str:
    return name.rpartition(".")[2]


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _shown(name: str, tensors: Mapping[str, Tensor]) -> str:
    return f"{name} {tuple(tensors[name].shape)}"


def _is_classifier(
    rest: Sequence[str], given: Mapping[str, Tensor], classifier: Sequence[Tensor]
) -> bool:
    """Whether what follows the body is nothing, or linear layers on the model's features."""
    if not rest or not classifier:
        return not rest
    features = classifier[0].shape[1:]
    modules = [list(names) for _, names in groupby(rest, _module)]
    return len(modules) <= max(len(classifier) // 2, 1) and all(
        [_role(name) for name in names] in (["weight"], ["weight", "bias"])
        and given[names[0]].shape[1:] == features
        for names in modules
    )


def _check_modules(pairs: Sequence[tuple[str, str]]) -> None:
    theirs: dict[str, str] = {}
    mine: dict[str, str] = {}
    for name, own in pairs:
        one, other = _module(name), _module(own)
        if theirs.setdefault(one, other) != other or mine.setdefault(other, one) != one:
            raise NotByPosition(f"{name} and {own} belong to modules of other tensors")


def _check_shared_names(pairs: Sequence[tuple[str, str]]) -> None:
    known = {own for _, own in pairs}
    for name, own in pairs:
        if name != own and name in known:
            raise NotByPosition(f"{name} would be taken for {own}, and the model has that name")


def _check_numbers(names: Iterable[str]) -> None:
    highest: dict[str, int] = {}
    for name in names:
        for found in _NUMBER.finditer(name):
            before, number = name[: found.start()], int(found[1])
            if number < highest.get(before, 0):
                words = f"{before}{highest[before]} comes before {before}{number}"
                raise NotByPosition(f"the numbers in its names are in another order: {words}")
            highest[before] = number


def _check_places(pairs: Sequence[tuple[str, str]], given: Mapping[str, Tensor]) -> None:
    """Whether no two modules of a block that look alike change places in another block."""
    shapes: dict[tuple[str, str], list[tuple[int, ...]]] = {}
    for name, own in pairs:
        shapes.setdefault((_module(name), _module(own)), []).append(tuple(given[name].shape))
    elsewhere = {(_role(theirs), _role(own)): theirs for theirs, own in shapes}
    for _, block in groupby(sorted(shapes), lambda pair: _module(pair[0])):
        for (one, its), (other, others) in combinations(block, 2):
            crossed = (_role(one), _role(others)), (_role(other), _role(its))
            alike = shapes[one, its] == shapes[other, others] and _role(its) != _role(others)
            if alike and all(pair in elsewhere for pair in crossed):
                words = f"{one} is {its}, and {elsewhere[crossed[0]]} is another"
                raise NotByPosition(f"modules change places between blocks: {words}")
