"""A model over picture files, exported as a sweep leaves it, and what validation says of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from raysel.export.check import expected_outputs
from raysel.export.timm_layout import write_model
from raysel.models.build import ModelConfig, build
from raysel.models.data_config import model_input
from raysel.spec.reader import parse
from raysel.tasks.load_task import load_task
from raysel.training.image_batches import on_device


def spec_of(folder: Path, name: str, **task: object):
    """A sweep over the pictures of a folder."""
    import yaml

    content = {
        "name": "pictures",
        "task": {
            "data": {"folder": str(folder)},
            "cache": str(folder.parent / "cache"),
            "split": {"train": "all", "validation": "all", "test": "all"},
            **task,
        },
        "model": {"name": name, "weights": "pretrained"},
        "strategies": {"full": None},
        "training": {"epochs": 1},
    }
    return parse(yaml.safe_dump(content))


def exported(folder: Path, to: Path, name: str, head: str = "linear", **task: object):
    """A model as a sweep leaves it, with weights that a seed gives."""
    spec = spec_of(folder, name, **task)
    loaded = load_task(spec.task, model_input(name), with_source=False)
    model_config = ModelConfig(name, len(loaded.classes), 3, loaded.image_size, head)
    model = build(model_config, seed=1).eval()
    for parameter in model.get_classifier().parameters():  # timm begins with nearly nothing
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(2))
    said = expected_outputs(model, loaded)
    write_model(model, name, loaded, {"sweep": "pictures-1", "run": "confirm-full-s0"}, to)
    return SimpleNamespace(spec=spec, task=loaded, model=model, expected_outputs=said, folder=to)


def validated(out: SimpleNamespace) -> torch.Tensor:
    """The logits that raysel's own validation gives."""
    part = on_device(out.task.validation, out.task.mean, out.task.std, torch.device("cpu"))
    with torch.inference_mode():
        return torch.cat([out.model(batch.images).float() for batch in part.split(1)])
