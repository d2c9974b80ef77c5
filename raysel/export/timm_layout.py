"""A model in timm's own hub layout: `config.json` and `model.safetensors`, no pickle.

`timm.create_model("local-dir:DIR", pretrained=True)` loads it. Beside them lie a model card and
`predict.py`, which needs no raysel.
"""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from raysel.common import torchvision_compat
from raysel.common.user_files import clear, reason
from raysel.export.card import card
from raysel.export.sums import altered, write_sums
from raysel.export.transform import transform_of
from raysel.models import timm
from raysel.models.data_config import pretrained_cfg, wants_image_size
from raysel.models.head import MlpHead, has_dense_layers
from raysel.spec.model import AdapterSpec
from raysel.tasks.cached_examples import CachedExamples
from raysel.tasks.data import Task
from raysel.tasks.value_range import ValueRanges

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""The files of the layout."""

CARD, CODE = "README.md", "code"

COPIED = (
    Path(__file__).with_name("predict.py"),
    Path(__file__).with_name("read_picture.py"),
    Path(torchvision_compat.__file__),
)
"""Files that a user without raysel runs, and that import nothing of raysel."""

_OF_THE_SOURCE = frozenset(
    [
        *("architecture", "url", "file", "hf_hub_id", "hf_hub_filename", "source", "state_dict"),
        *("custom_load", "label_offset", "label_names", "label_descriptions", "num_classes"),
        *("test_input_size", "test_crop_pct", "test_pool_size", "min_input_size", "pool_size"),
    ]
)
"""Of a configuration what describes the weights that a model began with, and no others."""


def model_origin(sweep: str, run: str, adapter: AdapterSpec | None) -> dict[str, str]:
    """Where a model comes from: sweep, run, and in words the adapters that were merged into it."""
    where = {"sweep": sweep, "run": run}
    return where if adapter is None else where | {"adapter": str(adapter)}


def write_model(
    model: nn.Module,
    name: str,
    task: Task,
    origin: Mapping[str, Any],
    target: Path,
    sections: str = "",
) -> None:
    """Write a model, whole or not at all, in place of what `target` held.

    Args:
        model: of timm's architecture `name`, with its weights.
        task: gives class names, image size, normalisation and the way pictures are cut.
        origin: see `model_origin`; stored under `raysel`.
        sections: of the model card, from the sweep's results.
    """
    partial = target.with_name(f".{target.name}.partial")
    clear(partial)
    partial.mkdir(parents=True)
    # tied tensors are written twice, views whole: safetensors takes neither
    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in model.state_dict().items()}
    safetensors.torch.save_file(tensors, partial / WEIGHTS, {"format": "pt"})
    code = architecture_code(name)
    config = _config(model, name, task, dict(origin), [] if code is None else [code[0]])
    (partial / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    (partial / CARD).write_text(card(config, sections), encoding="utf-8")
    if code is not None:
        (partial / CODE).mkdir()
        (partial / CODE / code[0]).write_text(code[1], encoding="utf-8")
    for source in COPIED:
        shutil.copyfile(source, partial / source.name)
    write_sums(partial)
    clear(target)
    partial.replace(target)


def damage_of(folder: Path) -> str | None:
    """What keeps a model that `write_model` wrote from being handed over, in words: a file that is
    missing, emptied or altered; None where there is nothing.

    Models of an older raysel have no digests: their weights must be a whole safetensors file.
    """
    if wrong := altered(folder):
        return wrong
    if not (folder / WEIGHTS).is_file():
        return f"{WEIGHTS} is not there"
    try:
        with safetensors.safe_open(folder / WEIGHTS, "pt"):
            return None
    except Exception as error:  # whatever a damaged file makes its reader raise
        return f"{WEIGHTS} cannot be read: {reason(error)}"


def architecture_code(name: str) -> tuple[str, str] | None:
    """The file that enters an architecture into timm's registry, by name and text; None where it
    is timm's own."""
    module = sys.modules[timm.model_entrypoint(name).__module__]
    if module.__name__.split(".")[0] == "timm" or module.__file__ is None:
        return None
    return Path(module.__file__).name, inspect.getsource(module)


def _config(
    model: nn.Module, name: str, task: Task, origin: dict[str, Any], code: list[str]
) -> dict[str, Any]:
    """The content of `config.json`, as timm reads it; what is raysel's stands under its name."""
    classes, channels = len(task.classes), task.channels
    arguments: dict[str, Any] = {"num_classes": classes, "in_chans": channels}
    if wants_image_size(name):
        arguments["img_size"] = list(task.image_size)
    own = pretrained_cfg(name) or {}
    architecture = str(own.get("architecture") or name.split(".")[0])
    given = {k: v for k, v in own.items() if k not in _OF_THE_SOURCE and _is_json(v)}
    facts = {"num_features": getattr(model, "num_features", None)}
    pool = getattr(model, "global_pool", None)
    facts["global_pool"] = pool if isinstance(pool, str) else None
    details = {
        "shift": task.shift.model_dump() if task.shift.kind != "none" else None,
        "pictures": isinstance(task.validation, CachedExamples),
        "ranges": None if task.ranges == ValueRanges() else asdict(task.ranges),
        "head": _heads(model),
        "code": code,
    }
    return {
        "architecture": architecture,
        "num_classes": classes,
        **{key: value for key, value in facts.items() if value},
        "label_names": list(task.classes),
        "model_args": arguments,
        "pretrained_cfg": {
            **given,
            "custom_load": False,
            "num_classes": classes,
            **transform_of(task),
        },
        "raysel": origin
        | {key: value for key, value in details.items() if value not in (None, [])},
    }


def _is_json(value: Any) -> bool:
    """Whether a value can be written; a model of the user's own may hold anything."""
    try:
        return value is not None and bool(json.dumps(value))
    except (TypeError, ValueError):
        return False


def _heads(model: nn.Module) -> list[dict[str, object]]:
    """The classifiers of two layers, which timm alone does not build."""
    return [
        {"path": path, **module.facts(), "without_dense_layers": not has_dense_layers(model)}
        for path, module in model.named_modules()
        if isinstance(module, MlpHead)
    ]
