"""What the trials of a phase share, small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition_of
from raysel.spec.sweep import ObjectiveSpec
from raysel.tasks.data import Examples
from raysel.training.trial_worker import PhaseContext


def examples(count: int, first: int = 0) -> Examples:
    """Image n holds the number `first` + n in every pixel; four classes in turn."""
    numbers = np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1) + np.float32(first)
    return Examples(np.ones((count, 1, 16, 16), np.float32) * numbers, np.arange(count) % 4)


def shared(folder: Path, **changes: Any) -> PhaseContext:
    """40 training and 20 validation examples for timm's `test_resnet`."""
    model_config = ModelConfig("test_resnet", 4, 1, (16, 16))
    facts: dict[str, Any] = {
        "model_config": model_config,
        "partition": partition_of("test_resnet", "coarse", 4, channels=1),
        "weights": {n: t.numpy() for n, t in build(model_config, 0).state_dict().items()},
        "train": examples(40),
        "validation": examples(20, 100),
        "source": None,
        "test": None,
        "mean": (20.0,),
        "std": (10.0,),
        "objective": ObjectiveSpec(),
        "keep_best": False,
        "trace_every": 1,
        "threads": torch.get_num_threads(),
        "folder": folder,
    }
    return PhaseContext(**{**facts, **changes})
