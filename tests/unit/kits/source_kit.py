"""A small task with a source part, and how its source model is trained."""

from __future__ import annotations

import numpy as np

from raysel.models.build import ModelConfig
from raysel.spec.source import SourceSpec
from raysel.tasks.data import Examples, SealedTest, Task
from raysel.training.source_model import SourceTraining

BLUEPRINT = ModelConfig("test_resnet", classes=3, channels=1, image_size=(8, 8))
THREADS = 1


def examples(count: int, seed: int) -> Examples:
    labels = np.arange(count) % 3
    patterns = np.random.default_rng(9).random((3, 1, 8, 8), dtype=np.float32)
    noise = np.random.default_rng(seed).random((count, 1, 8, 8), dtype=np.float32)
    return Examples((0.7 * patterns[labels] + 0.3 * noise).astype(np.float32), labels)


TASK = Task(
    name="three",
    classes=("a", "b", "c"),
    source_train=examples(60, 1),
    source_validation=examples(30, 2),
    train=examples(6, 3),
    validation=examples(6, 4),
    test=SealedTest(examples(6, 5)),
    mean=(0.5,),
    std=(0.25,),
)


def how(seed: int = 0, threads: int = THREADS, **given: object) -> SourceTraining:
    """As the `source` of a sweep file says."""
    return SourceTraining(seed, threads, SourceSpec.model_validate(given))
