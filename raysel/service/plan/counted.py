"""The plan of a sweep whose data are not here: what can be counted, nothing measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raysel.common.errors import user_error
from raysel.search.arms import of_model
from raysel.search.pruning_simulation import pruning_keep_fraction
from raysel.search.space import Space
from raysel.search.validate_model import partition_for, space_for
from raysel.service.plan.estimate import HOUR, RECORD_BYTES
from raysel.service.plan.workload import StrategyWorkload, trained_on, workloads
from raysel.spec.sweep import Spec
from raysel.tasks.datasets import download_bytes
from raysel.tasks.opened_task import OpenedTask, counted_task

PASSES = 3.0
"""A training step costs about as much as three forward passes."""

_WEIGHT_BYTES = 4
_CHECKPOINT = 3
"""A checkpoint holds weights and an optimizer's two moments, at most."""


@dataclass(frozen=True)
class Counted:
    """What a sweep, or several, will do, in expectation.

    Attributes:
        trials: of the search.
        runs: of the confirm phase.
        trained: pictures through training steps, the source model's included.
        evaluated: pictures through forward passes alone.
        downloads: bytes of data and weights that are not here; the same data of several sweeps are
            downloaded once.
        kept: bytes of records and models, about.
        checkpoints: bytes of the confirm runs' checkpoints, about, which go when the sweep ends; of
            several sweeps those of the largest.
    """

    trials: float
    runs: int
    epochs: float
    steps: float
    trained: float
    evaluated: float
    downloads: dict[str, int]
    kept: float
    checkpoints: float

    @property
    def disk(self) -> float:
        """Bytes at the most, about."""
        return self.kept + self.checkpoints

    def hours(self, images_per_second: float) -> float:
        """Hours of one worker that trains so many pictures a second."""
        return (self.trained + self.evaluated / PASSES) / images_per_second / HOUR

    def to_dict(self) -> dict[str, Any]:
        """For a script."""
        return asdict(self) | {"disk": self.disk}


def counted(spec: Spec, task: OpenedTask) -> Counted:
    """Count a sweep's work from the sizes of its data, be they there or published.

    Raises:
        UserError: the data are not here, and how many there are is not known; or they do not hold
            the split.
    """
    known = task if task.missing is None else counted_task(spec.task)
    if known is None:
        raise user_error("task.data", f"{task.missing}; without it nothing can be counted")
    data, parts = known.divided()
    space = space_for(spec, task)
    each = {model: of_model(spec, model) for model in spec.model.names}
    tuned = {model: partition_for(own, task).size for model, own in each.items()}
    train, validation, test = len(parts.train), len(parts.validation), len(parts.test)
    work = workloads(spec, space, train, len(data.classes))
    kept = _kept(spec, space, work)
    epochs = {one.strategy: one.epochs_in_all(kept) for one in work}
    trained = sum(
        trained_on(spec, name, train, len(data.classes)) * count for name, count in epochs.items()
    )
    tested = sum(
        one.confirm_epochs if spec.confirm.test_every_epoch else one.confirm for one in work
    )
    if spec.model.weights == "source":
        one = len(parts.source_train) * spec.source.epochs * spec.confirm.source_seeds
        trained += one * len(each)
    weights = {
        model: _WEIGHT_BYTES * partition_for(own.without_adapter, task).size
        for model, own in each.items()
    }
    first = spec.model.names[0]
    confirmed = sum(tuned[space.models.get(one.strategy, first)] * one.confirm for one in work)
    total, runs = sum(epochs.values()), sum(one.confirm for one in work)
    return Counted(
        trials=sum(one.trials for one in work),
        runs=runs,
        epochs=total,
        steps=sum(one.steps * epochs[one.strategy] for one in work),
        trained=trained,
        evaluated=validation * (total - sum(one.range_epochs for one in work)) + test * tested,
        downloads=_downloads(spec, task, weights),
        kept=RECORD_BYTES * total + 2 * max(weights.values()),
        checkpoints=_CHECKPOINT * _WEIGHT_BYTES * confirmed,
    )


def summed(every: Sequence[Counted]) -> Counted:
    """Several sweeps together."""
    return Counted(
        trials=sum(one.trials for one in every),
        runs=sum(one.runs for one in every),
        epochs=sum(one.epochs for one in every),
        steps=sum(one.steps for one in every),
        trained=sum(one.trained for one in every),
        evaluated=sum(one.evaluated for one in every),
        downloads={name: size for one in every for name, size in one.downloads.items()},
        kept=sum(one.kept for one in every),
        checkpoints=max(one.checkpoints for one in every),
    )


def _kept(spec: Spec, space: Space, work: Sequence[StrategyWorkload]) -> float:
    trials = round(sum(one.trials for one in work))
    epochs = round(sum(one.search_epochs for one in work) / max(trials, 1))
    return pruning_keep_fraction(spec, space.strategies, trials, max(epochs, 1), 1)


def _downloads(spec: Spec, task: OpenedTask, weights: Mapping[str, int]) -> dict[str, int]:
    """What is not here: name -> bytes."""
    found = {}
    if task.missing is not None and (size := download_bytes(spec.task)):
        found[spec.task.name] = size
    if spec.model.weights == "pretrained":
        found |= {f"weights of {model}": size for model, size in weights.items()}
    return found
