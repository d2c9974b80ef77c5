"""Fits a checkpoint to a model: by name, below a prefix, or by position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from raysel.common.errors import UserError, user_error
from raysel.common.text import and_more
from raysel.models.by_position import NotByPosition, by_position, is_counter
from raysel.models.shapes import of_classifier
from raysel.models.weights import Checkpoint, matching_weights, read_checkpoint

_PATH = "model.weights"
_PARTS = ("backbone.", "encoder.")
"""Where a checkpoint of more than a network has it; any other prefix is found by names."""


@dataclass(frozen=True)
class Fitted:
    """Weights of a file in a model's own names.

    Attributes:
        notes: what was done beyond matching names, a sentence each.
    """

    weights: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def fitted_file(path: Path, model: nn.Module) -> Fitted:
    """The weights of a file that a model takes.

    Names are compared first, then those below a prefix (`student.`), and then the order, kinds and
    shapes (`raysel.models.by_position`).

    Args:
        model: only names and shapes are read; it may be on the meta device.

    Raises:
        UserError: it is not read, or fits in none of these ways: what is missing, unexpected and
            of another shape, and how far the nearest way goes.
    """
    checkpoint = read_checkpoint(path)
    found = _fitted(checkpoint, model)
    notes = (*checkpoint.notes, *found.notes)
    return Fitted(found.weights, tuple(f"{_PATH}: {path.name} {note}" for note in notes))


def _fitted(checkpoint: Checkpoint, model: nn.Module) -> Fitted:
    given = checkpoint.tensors
    try:
        return Fitted(matching_weights(given, model))
    except UserError as error:
        (by_name,) = error.problems
    body = [n for n in model.state_dict() if not of_classifier(n, model) and not is_counter(n)]
    prefixes = _prefixes(given, body)
    if len(prefixes) > 1:
        listed = and_more(sorted(prefixes))
        message = f"holds the model several times, below {listed}; keep one of them in the file"
        raise user_error(_PATH, message)
    for prefix in prefixes:
        weights = matching_weights(_known(_below(given, prefix), model), model)
        rest = [name for name in given if name.removeprefix(prefix) not in weights]
        left = f"; left out: {and_more(rest, 2)}" if rest else ""
        return Fitted(weights, (f"has the model's tensors below {prefix}{left}",))
    named = sum(name in given for name in body)
    try:
        return _by_position(checkpoint, model)
    except NotByPosition as error:
        nearest = f"by position: {error}"
    if named >= len(body) / 2:
        nearest = f"by name {named} of {len(body)} are there"
    raise user_error(_PATH, f"{by_name.message}; nearest rule: {nearest}")


def _by_position(checkpoint: Checkpoint, model: nn.Module) -> Fitted:
    if not checkpoint.ordered:
        raise NotByPosition("safetensors files keep no order, so that names must fit")
    reason = None
    for given in _parts(checkpoint.tensors):
        try:
            names = by_position(given, model)
        except NotByPosition as error:
            reason = reason or error
            continue
        renamed = {own: given[name] for own, name in names.items()}
        first, last = list(names.items())[:: max(len(names) - 1, 1)][:2]
        pairs = f"{first[1]} as {first[0]} … {last[1]} as {last[0]}"
        note = (
            f"has other names; {len(names)} tensors of the same order, kinds and shapes are taken"
            f" by position ({pairs})"
        )
        return Fitted(matching_weights(renamed, model), (note,))
    assert reason is not None
    raise reason


def _parts(given: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    yield given
    for prefix in _PARTS:
        if below := _below(given, prefix):
            yield below


def _prefixes(given: Mapping[str, Tensor], body: list[str]) -> list[str]:
    """Prefixes below which all of the model's names are."""
    if not body:
        return []
    starts = (name.removesuffix(body[0]) for name in given if name.endswith(f".{body[0]}"))
    return [start for start in starts if all(start + name in given for name in body)]


def _below(given: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in given.items() if n.startswith(prefix)}


def _known(given: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    own = model.state_dict()
    return {name: tensor for name, tensor in given.items() if name in own}
