"""A trial small enough to run in the blink of an eye, and what to compare of two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from raysel.models.layers import Partition, partition
from raysel.spec.sweep import ObjectiveSpec, TrainingSettings
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import registered
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData

CLASSES = 4

SETTINGS = TrainingSettings(
    epochs=3,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.05,
    momentum=0.9,
    weight_decay=0.0,
    schedule="constant",
    warmup_epochs=0.0,
    batch_norm="train",
    precision="float32",
    clip_norm=None,
    gradient_accumulation_steps=1,
    deterministic=False,
)

MANY_STEPS = {"gradient_accumulation_steps": 2, "schedule": "cosine", "warmup_epochs": 0.7}
"""What makes an epoch's place in the trial matter: two batches a step, a changing rate."""


class TinyNet(nn.Module):
    """Four layers (`stem`, `block`, `body`, `head`) with batch norm and dropout; 8x8 images.

    Without timm's group matcher, so its layers are its children in forward order.
    """

    pretrained_cfg: ClassVar = {"classifier": "head"}

    def __init__(self, dropout: float = 0.3, norm: bool = True) -> None:
        super().__init__()

        def stage(inputs: int, outputs: int) -> nn.Sequential:
            parts: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, 2, 1)]
            return nn.Sequential(*parts, nn.BatchNorm2d(outputs) if norm else nn.ReLU())

        self.stem = stage(1, 4)
        self.block = stage(4, 8)
        self.body = nn.Sequential(nn.Linear(32, 12), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(12, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.block(torch.relu(self.stem(images))))
        logits: Tensor = self.head(self.body(features.flatten(1)))
        return logits


def tiny(seed: int = 0, **choices: Any) -> TinyNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TinyNet(**choices)


def batch(count: int, seed: int, size: int = 8, classes: int = CLASSES, channels: int = 1) -> Batch:
    """Noise around a pattern of the class, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    patterns = torch.randn(
        classes, channels, size, size, generator=torch.Generator().manual_seed(9)
    )
    noise = torch.randn(count, channels, size, size, generator=generator)
    return Batch(patterns[labels] + noise, labels)


DATA = TrialData(train=batch(40, 1), validation=batch(24, 2), source=batch(16, 3))


def config(
    strategy: str = "full", parameters: dict[str, Any] | None = None, seed: int = 0, **training: Any
) -> TrialConfig:
    defaults = {p.name: p.default for p in registered()[strategy].parameters}
    return TrialConfig(
        strategy=strategy,
        parameters=defaults | (parameters or {}),
        training=TrainingSettings.model_validate(SETTINGS.model_dump() | training),
        seed=seed,
    )


def trial(
    chosen: TrialConfig,
    model: nn.Module | None = None,
    data: TrialData = DATA,
    layers: Partition | None = None,
    **options: Any,
) -> FineTuning:
    model = model or tiny()
    return FineTuning(chosen, model, layers or partition(model), data, ObjectiveSpec(), **options)


def finished(run: FineTuning) -> list[dict[str, float]]:
    """Run every epoch that is left; the metrics of each."""
    return [run.run_epoch().metrics for _ in range(run.config.training.epochs - run.epoch)]


def tensors(run: FineTuning) -> dict[str, Tensor]:
    """A copy of the model's parameters and buffers."""
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def learnt(run: FineTuning) -> dict[str, Any]:
    """Everything that a trial has become: frozen parameters too, which its state leaves out."""
    return {"whole model": tensors(run), **run.state_dict()}


def differences(mine: Any, theirs: Any, path: str = "") -> list[str]:
    """Where two nested states are not bit for bit the same; paths of the leaves."""
    if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
        same = mine.dtype == theirs.dtype and torch.equal(mine, theirs)
        return [] if same else [path]
    if isinstance(mine, dict) and isinstance(theirs, dict):
        if mine.keys() != theirs.keys():
            return [f"{path} keys"]
        return [d for key in mine for d in differences(mine[key], theirs[key], f"{path}/{key}")]
    if isinstance(mine, list | tuple) and isinstance(theirs, list | tuple):
        if len(mine) != len(theirs):
            return [f"{path} length"]
        pairs = enumerate(zip(mine, theirs, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}/{i}")]
    return [] if type(mine) is type(theirs) and mine == theirs else [path]


def without_seconds(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "cost/seconds"}


def trace_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of every part of a selection trace; a score that is not there is None."""
    rows = [
        row for part in sorted(folder.glob("*.parquet")) for row in pq.read_table(part).to_pylist()
    ]
    return [
        {**row, "score": row["score"] if row["score"] == row["score"] else None} for row in rows
    ]
