"""The most bytes of torch's tensors that a run held at a time.

On a GPU they are measured, the data on it included. A CPU's tensors are not counted by anybody and
the resident memory of a process depends on the runs before it: there they are those of a training
step, as `raysel plan` works them out.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

import torch

from raysel.models.build import ModelConfig
from raysel.models.layers import Partition
from raysel.spec.trial_config import TrialConfig
from raysel.training.step_memory import step_memory


def reset_peak() -> None:
    """Count from here on."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes(model_config: ModelConfig, layers: Partition, config: TrialConfig) -> int | None:
    """The peak since `reset_peak`; None of a model that runs with real tensors alone."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    with suppress(Exception):  # what a user's own model raises without data
        alike = config.model_copy(update={"seed": 0, "split": 0, "source_seed": 0})
        return _of_a_step(model_config, layers, alike.model_dump_json())
    return None


@lru_cache(maxsize=64)
def _of_a_step(model_config: ModelConfig, layers: Partition, config: str) -> int:
    """Worked out once for the runs of a configuration: seconds for a large model."""
    read = TrialConfig.model_validate_json(config)
    return step_memory(model_config, layers, read, "cpu").peak
