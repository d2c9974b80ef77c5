"""Validate what a sweep makes small, and whether sampler and pruner know that many objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raysel.common.errors import Problem
from raysel.common.text import quoted
from raysel.spec.objective import SECONDS, SOURCE_ERROR, WORST_GROUP
from raysel.spec.sweep import Spec

SAMPLERS = ("tpe", "nsga2", "random", "qmc", "grid")
"""Those of several objectives."""

PRUNERS = ("asha", "none")
"""Likewise: asha prunes by dominance."""


def objective_problems(
    spec: Spec, classes: Callable[[], int], has_groups: Callable[[], bool]
) -> Iterator[Problem]:
    """A metric that says nothing of so few classes, that the data or the weights do not have, or
    that is listed twice; a sampler or a pruner that does not know so many."""
    metrics = spec.objective.metrics
    for index, metric in enumerate(metrics):
        path = f"objective.secondary.{index - 1}" if index else "objective.metric"
        instead = "leave it out" if index else "give val/error"
        if metric in metrics[:index]:
            yield Problem(path, f"{quoted(metric)} is listed twice; {instead}")
        elif metric == "val/top5_error" and (count := classes()) <= 5:
            message = f"{metric} is 0 for whatever model where there are {count} classes"
            yield Problem(path, f"{message}; {instead}")
        elif metric == WORST_GROUP and not has_groups():
            message = f"{metric} needs groups; name a table's column of them:"
            yield Problem(path, f"{message} task.data.group_column, or {instead}")
        elif metric == SOURCE_ERROR and spec.model.weights != "source":
            message = (
                f"{metric} needs model.weights: source; what other weights forget is not known"
            )
            yield Problem(path, f"{message}; {instead}")
    yield from _search_problems(spec)


def _search_problems(spec: Spec) -> Iterator[Problem]:
    """A sampler, a pruner or a choice of finalists for another number of objectives."""
    search, metrics = spec.search, spec.objective.metrics
    several = f"there are {len(metrics)} objectives ({', '.join(metrics)})"
    if not spec.objective.is_multiple:
        more = "objective.secondary: [cost/seconds]"
        if search.sampler == "nsga2":
            message = f"nsga2 is for several objectives; give tpe, or name another one: {more}"
            yield Problem("search.sampler", message)
        if spec.confirm.configurations == "front":
            message = f"one objective has no front; give best, or name another objective: {more}"
            yield Problem("confirm.configurations", message)
        return
    if search.sampler not in SAMPLERS:
        message = f"{search.sampler} chooses by one objective, and {several}; give"
        yield Problem("search.sampler", f"{message} {', '.join(SAMPLERS[:-1])} or {SAMPLERS[-1]}")
    if search.sampler == "nsga2" and search.allocation == "adaptive":
        message = "nsga2 crosses configurations of one arm, so that each needs its share; give"
        yield Problem("search.allocation", f"{message} equal")
    if spec.pruner.kind not in PRUNERS:
        message = f"{spec.pruner.kind} compares one number a trial, and {several}; give asha, which"
        yield Problem("pruner.kind", f"{message} prunes by dominance, or none")


def objective_notes(spec: Spec) -> list[str]:
    """What a reader of the file may not expect."""
    if SECONDS not in spec.objective.metrics:
        return []
    return [
        f"objective: {SECONDS} is measured time, so that the same file suggests other trials on"
        " another machine or under another load; cost/updated_params is the same everywhere"
    ]
