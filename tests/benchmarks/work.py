"""The work that both sides of the search-phase benchmark do: 24 fixed configurations of the
quick start's space, its task, its model and the weights that every trial starts from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor

from raysel.models.build import ModelConfig
from raysel.models.layers import Partition, partition_of
from raysel.search.space import Space
from raysel.spec import reader
from raysel.spec.sweep import Spec
from raysel.tasks.data import Task
from raysel.tasks.load_task import load_task
from raysel.training.source_model import (
    SourceModel,
    SourceTraining,
    cached_source_model,
    source_model,
)

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 24
CONCURRENT = 2


@dataclass(frozen=True)
class Work:
    """What is to be trained.

    Attributes:
        points: the configurations, as parameters of an Optuna trial.
        weights: the source model's tensors.
    """

    spec: Spec
    task: Task
    partition: Partition
    model_config: ModelConfig
    space: Space
    points: list[dict[str, Any]]
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """What one side did.

    Attributes:
        side: `raysel` or `plain`.
        seconds: wall time of the search phase.
        drained: wall time until MLflow had everything too.
        states: how many trials ended how.
        curves: for each point of the work, in order, the validation loss of each epoch.
        training: the sum over all epochs of the seconds that the training code itself took.
        processor: processor seconds by role, from the beginning until drained.
    """

    side: str
    seconds: float
    drained: float
    states: dict[str, int]
    curves: list[list[float]]
    training: float
    processor: dict[str, float]

    @property
    def epochs(self) -> int:
        """How many epochs were trained in all."""
        return sum(map(len, self.curves))

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Outcome:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def load_work(storage: Path, cache: Path, pruning: bool) -> Work:
    """The work; the source model is trained here unless it was kept.

    Args:
        storage: folder of the sweep.
        cache: folder of kept source models.
        pruning: with the file's pruning rule, or every trial to its last epoch.
    """
    overrides = [f"search.num_trials={TRIALS}", f"storage={storage}"]
    if not pruning:
        overrides.append("pruner.kind=none")
    spec = reader.load(ROOT / "search_spaces" / "digits.yaml", overrides)
    task = load_task(spec.task)
    partition = partition_of(
        spec.model_name, spec.model.partition, len(task.classes), task.channels
    )
    model_config = ModelConfig(spec.model_name, len(task.classes), task.channels, task.image_size)
    space = Space(spec, partition.names)
    source = _source(task, model_config, spec, cache)
    return Work(spec, task, partition, model_config, space, points(space), source.weights)


def _source(task: Task, model_config: ModelConfig, spec: Spec, cache: Path) -> SourceModel:
    how = SourceTraining(spec.task.split.seed, spec.resources.cpus)
    arguments = (task, model_config, how, cache)
    threads = torch.get_num_threads()
    try:
        return cached_source_model(*arguments) or source_model(*arguments)
    finally:
        torch.set_num_threads(threads)


def points(space: Space) -> list[dict[str, Any]]:
    """Each strategy's published setting, then configurations drawn at random."""
    first = space.first_trials()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = []
    for _ in range(TRIALS - len(first)):
        trial = study.ask()
        space.suggest(trial)
        drawn.append(trial.params)
    return first + drawn
