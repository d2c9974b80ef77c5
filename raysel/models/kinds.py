"""What each parameter of a model does: norms, attention and MLPs, by the classes of its modules."""

from __future__ import annotations

import re

from torch import nn

from raysel.models.delimiter import is_norm
from raysel.models.partition_types import Kind
from raysel.models.shapes import of_classifier, under

_ATTENTION = re.compile(r"(?i)attention|attn")
_MLP = re.compile(r"(?i)mlp|swiglu|feedforward|^ffn$")
_NEITHER = re.compile(r"(?i)block|pool|classifier|head(?!att)")


def kinds_of(model: nn.Module) -> dict[str, Kind]:
    """The kind of every parameter, by its name.

    A norm is a module that only scales and shifts, wherever it stands. Attention and MLP go by the
    outermost module above the parameter whose class says so (timm's `Attention`,
    `WindowAttention`, `Mlp`, `SwiGLU`, …); the model itself, blocks, pooling and whatever holds the
    classifier are neither.
    """
    modules = dict(model.named_modules())
    named = [name for name, _ in model.named_parameters()]
    classifiers = [name for name in named if of_classifier(name, model)]
    found: dict[str, Kind] = {}
    for path, module in modules.items():  # from the model inwards: the outermost one stays
        kind = _of_module(module)
        holds_classifier = not path or any(under(name, path) for name in classifiers)
        if kind is None or (holds_classifier and kind != "norm"):
            continue
        for name, _ in module.named_parameters(prefix=path):
            found[name] = kind if kind == "norm" else found.get(name, kind)
    return {name: found.get(name, "other") for name in named}


def _of_module(module: nn.Module) -> Kind | None:
    kind = type(module).__name__
    if is_norm(module):
        return "norm"
    if _NEITHER.search(kind):
        return None
    if isinstance(module, nn.MultiheadAttention) or _ATTENTION.search(kind):
        return "attention"
    return "mlp" if _MLP.search(kind) else None
