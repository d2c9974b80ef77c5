"""A summary of a sweep's search, for `raysel validate`."""

from __future__ import annotations

from dataclasses import dataclass

from raysel.search.space import CROSS_VALIDATION, Space
from raysel.search.trial_budget import budget, walks_every_point
from raysel.search.validate import partition_for
from raysel.spec.sweep import Spec
from raysel.tasks.opened_task import OpenedTask


@dataclass(frozen=True)
class Summary:
    """Key figures of a valid sweep.

    Attributes:
        layers: parameters of each layer, in forward order.
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
    partition = partition_for(spec, task)
    space = Space(spec, partition.names)
    walked = walks_every_point(spec.search, space)
    crossed = spec.search.sampler == CROSS_VALIDATION
    return Summary(
        name=spec.name,
        model=spec.model.name,
        parameters=partition.size,
        layers={layer.name: layer.size for layer in partition.layers},
        strategies=space.describe(),
        size=space.size(),
        trials=budget(spec.search, space),
        sampler="grid" if walked and not crossed else spec.search.sampler,
    )
