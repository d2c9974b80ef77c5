"""A summary of a sweep's search, for `raysel validate`."""

from __future__ import annotations

from dataclasses import dataclass

from raysel.search.arms import CROSS_VALIDATION, of_model
from raysel.search.trial_budget import budget, walks_every_point
from raysel.search.validate_model import partition_for, space_for
from raysel.spec.sweep import Spec
from raysel.tasks.opened_task import OpenedTask


@dataclass(frozen=True)
class Summary:
    """Key figures of a valid sweep.

    Attributes:
        model: its name; of several their names.
        layers: parameters of each layer, in forward order; of several models `model: layer`.
        strategies: what each one searches, in words; empty where it is one configuration.
        size: number of distinct configurations; None where a real number is searched.
        trials: how many of them are tried.
        sampler: how they are chosen.
    """

    name: str
    model: str
    parameters: int
    layers: dict[str, int]
    strategies: dict[str, str]
    size: int | None
    trials: int
    sampler: str


def summary(spec: Spec, task: OpenedTask) -> Summary:
    """The figures of a sweep that `raysel.search.validate` accepts."""
    space = space_for(spec, task)
    each = [of_model(spec, model) for model in spec.model.names]
    partitions = [partition_for(own, task) for own in each]
    several = len(each) > 1
    walked = walks_every_point(spec.search, space)
    crossed = spec.search.sampler == CROSS_VALIDATION
    return Summary(
        name=spec.name,
        model=str(spec.model.name),
        parameters=sum(partition.size for partition in partitions),
        layers={
            f"{own.model_name}: {layer.name}" if several else layer.name: layer.size
            for own, partition in zip(each, partitions, strict=True)
            for layer in partition.layers
        },
        strategies=space.describe(),
        size=space.size(),
        trials=budget(spec.search, space),
        sampler="grid" if walked and not crossed else spec.search.sampler,
    )
