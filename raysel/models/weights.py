"""Weights from a file, whoever wrote it: read, unwrapped, and matched with a model by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raysel.common.errors import user_error
from raysel.common.text import and_more
from raysel.common.user_files import MIB, any_error_as, not_readable
from raysel.models.by_position import is_counter
from raysel.models.head import DENSE, has_dense_layers
from raysel.models.shapes import classifier_paths, under
from raysel.models.weight_files import NotTensors, is_ordered, read_tensor_file, shards_of

MOST_BYTES = 100 * 1024 * MIB
"""Of a file of weights."""

_PATH = "model.weights"
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
_WRAPPERS = (*_AVERAGED, "state_dict", "model_state_dict", "model_state", "model")
"""Keys of what wraps the tensors; as timm does it, averaged weights are preferred."""
_AVERAGED_COUNTER = "n_averaged"  # torch's AveragedModel keeps it beside module.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")
_QUERY, _PROJECTOR = "encoder_q.", "fc."
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds.

    Attributes:
        tensors: without what wraps them.
        ordered: whether they are in the order of the network's modules.
        notes: what was taken where a file holds more, in sentences.
    """

    tensors: dict[str, Tensor]
    ordered: bool
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a safetensors file or of a torch checkpoint, of all shards where it is one.

    A checkpoint is read with `weights_only`, so that it cannot run code. What wraps the
    tensors is taken off: a key `state_dict` or the like, and a prefix that all names share
    (`module.` of a parallel model). Of a MoCo checkpoint the query encoder is taken, without
    its projector, which is none of the model's layers.

    Raises:
        UserError: the file is missing or holds no weights (path `model.weights`).
    """
    notes: list[str] = []
    try:
        files = shards_of(path)
    except NotTensors as error:
        raise user_error(_PATH, f"{path} {error}") from None
    tensors = {name: t for file in files for name, t in _read(file, notes).items()}
    if not tensors:
        raise user_error(_PATH, f"{path} holds no tensors")
    for name, tensor in tensors.items():
        if kind := _unusual(tensor):
            message = f"{path}: {name} is {kind}; only dense tensors of real numbers are loaded"
            raise user_error(_PATH, message)
    return Checkpoint(_unwrapped(tensors), is_ordered(path), tuple(notes))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file alone; see `read_checkpoint`."""
    return read_checkpoint(path).tensors


def matching_weights(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights that a model takes, in its own names and types.

    A classifier of another task, one of another shape or other names, is left out whole, and so
    are dense layers before it that the model has not (VGG16's, with a head of two layers).
    Counters of batches that older checkpoints lack are zero.

    Args:
        weights: as `read_weights` gives them.
        model: only shapes are read; it may be on the meta device.

    Raises:
        UserError: names or shapes do not fit, with the first five of each kind.
    """
    own, head = model.state_dict(), classifier_paths(model)
    body = {name: tensor for name, tensor in own.items() if not _under(name, head)}
    aside = head if has_dense_layers(model) else (*head, DENSE)
    given = {name: tensor for name, tensor in weights.items() if not _under(name, aside)}
    missing = [name for name in body if name not in given and not is_counter(name)]
    unexpected = [name for name in given if name not in body]
    shapes = [
        f"{name} {tuple(given[name].shape)} for {tuple(body[name].shape)}"
        for name in body
        if name in given and given[name].shape != body[name].shape
    ]
    whole = [
        f"{name} ({str(given[name].dtype).removeprefix('torch.')})"
        for name in body
        if name in given and body[name].is_floating_point() and not given[name].is_floating_point()
    ]
    broken = [name for name in body if name in given and not _is_finite(given[name])]
    kinds = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": shapes,
        "of whole numbers": whole,
        "with NaN or infinity in it": broken,
    }
    mistakes = [f"{kind}: {and_more(names, _SHOWN)}" for kind, names in kinds.items() if names]
    if mistakes:
        raise user_error(_PATH, "does not fit the model; " + "; ".join(mistakes))
    classifier = {name: tensor for name, tensor in own.items() if _under(name, head)}
    if all(name in weights and weights[name].shape == t.shape for name, t in classifier.items()):
        given |= {name: weights[name] for name in classifier}
    counters = {
        name: torch.zeros(tensor.shape, dtype=tensor.dtype)
        for name, tensor in body.items()
        if name not in given
    }
    return {name: tensor.to(own[name].dtype) for name, tensor in (given | counters).items()}


def _is_finite(tensor: Tensor) -> bool:
    """Whether all of a tensor's numbers are; those of 8 bits know no `isfinite` of their own."""
    if tensor.is_meta or not tensor.is_floating_point():
        return True
    wide = tensor.float() if tensor.element_size() == 1 else tensor
    return bool(wide.isfinite().all())


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fill a model; a classifier that does not fit stays as it was initialised.

    Raises:
        UserError: see `matching_weights`; the model is as before.
    """
    model.load_state_dict(matching_weights(weights, model), strict=False)


def _read(file: Path, notes: list[str]) -> dict[str, Tensor]:
    if wrong := not_readable(file, MOST_BYTES):
        raise user_error(_PATH, f"{file}: {wrong}; give another file, source or pretrained")
    with any_error_as(lambda why: user_error(_PATH, f"{file} cannot be read: {why}")):
        try:
            return _tensors(read_tensor_file(file), notes)
        except NotTensors as error:
            raise user_error(_PATH, f"{file} {error}") from None


def _tensors(content: Any, notes: list[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint, which may be under a key beside an optimizer's."""
    if not isinstance(content, Mapping):
        return {}
    keys = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    if keys:
        if len(keys) > 1:
            what = " (averaged weights)" if keys[0] in _AVERAGED else ""
            notes.append(f"holds {' and '.join(keys)}; {keys[0]}{what} is taken")
        return _tensors(content[keys[0]], notes)
    inner = [value for value in content.values() if isinstance(value, Mapping)]
    if len(inner) == 1 and not any(isinstance(value, Tensor) for value in content.values()):
        return _tensors(inner[0], notes)  # under a key of somebody's own
    return {
        str(name): value.detach()
        for name, value in content.items()
        if isinstance(value, Tensor) and name != _AVERAGED_COUNTER
    }


def _unusual(tensor: Tensor) -> str | None:
    """Why a model cannot take a tensor, whatever its shape; None where it can."""
    if tensor.is_meta:
        return "on the meta device, without values"
    if tensor.is_quantized:
        return "quantized"
    if tensor.layout is not torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    return "complex" if tensor.is_complex() else None


def _unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            return _unwrapped({name[len(prefix) :]: t for name, t in weights.items()})
    if any(name.startswith(_QUERY) for name in weights):
        query = _below(weights, _QUERY)
        return {name: t for name, t in query.items() if not name.startswith(_PROJECTOR)}
    return weights


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n[len(prefix) :]: t for n, t in weights.items() if n.startswith(prefix)}


def _under(name: str, paths: tuple[str, ...]) -> bool:
    return any(under(name, path) for path in paths)
