"""Validate a sweep's model: whether it runs on the task's images, its layers and its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from raysel.common.errors import Problem, UserError
from raysel.models.known_models import facts_of, multiply_adds_of, partition_of
from raysel.models.partition_types import SIZE, Partition
from raysel.models.patterns import PatternError, compiled
from raysel.search.arms import of_model
from raysel.search.space import Space
from raysel.search.validate_adapter import package_problems
from raysel.search.validate_weights import weights_problems
from raysel.spec.sweep import EQUAL_COST, Spec
from raysel.tasks.datasets import is_pictures
from raysel.tasks.opened_task import OpenedTask, TaskShape


def space_for(spec: Spec, task: OpenedTask) -> Space:
    """The search space of a sweep over the layers of its model, or of each of several.

    Raises:
        UserError: as `partition_for`.
    """
    each = {model: of_model(spec, model) for model in spec.model.names}
    layers = {model: partition_for(own, task).names for model, own in each.items()}
    costs = {model: cost_of(own, shape_of(own, task)) for model, own in each.items()}
    return space_over(spec, layers, {model: cost or 1.0 for model, cost in costs.items()})


def space_over(
    spec: Spec, layers: Mapping[str, Sequence[str]], costs: Mapping[str, float]
) -> Space:
    """The space where the layers of each model are known, and what it costs."""
    several = len(spec.model.names) > 1
    own = layers if several else layers[spec.model_name]
    return Space(spec, own, costs if spec.search.allocation == EQUAL_COST and several else None)


def cost_problems(spec: Spec, task: OpenedTask) -> Iterator[Problem]:
    """Models whose computation cannot be counted, where trials are shared out by it."""
    for own in (of_model(spec, model) for model in spec.model.names):
        if spec.search.allocation == EQUAL_COST and cost_of(own, shape_of(own, task)) is None:
            message = f"{own.model_name} cannot be run without data, so its cost is not known"
            yield Problem("search.allocation", f"{message}; give equal")


def cost_of(spec: Spec, shape: TaskShape) -> float | None:
    """Multiply-adds of one of the task's pictures with the sweep's model; None where they cannot
    be counted, or are not asked for."""
    if spec.search.allocation != EQUAL_COST:
        return None
    head, size = spec.model.head, shape.image_size
    return multiply_adds_of(spec.model_name, shape.class_count, shape.channels, head, size)


def partition_for(spec: Spec, task: OpenedTask) -> Partition:
    """The layers of the sweep's model for its task, without allocating its weights.

    Raises:
        UserError: there is no such model, it does not run on the task's images, or the
            partition's patterns do not fit it.
    """
    shape = shape_of(spec, task)
    return partition_of(
        spec.model_name,
        spec.model.partition,
        shape.class_count,
        channels=shape.channels,
        head=spec.model.head,
        image_size=shape.image_size,
        adapter=spec.model.adapter,
    )


def shape_of(spec: Spec, task: OpenedTask) -> TaskShape:
    """The task's shape; the model's own where the task is wrong, as the layers are the same."""
    expected = facts_of(spec.model_name).input
    try:
        return task.shape(expected)
    except UserError:
        size = (expected.size, expected.size)
        return TaskShape(channels=3, image_size=size, class_count=10)


def model_problems(spec: Spec, task: OpenedTask) -> list[Problem]:
    """What is wrong with a sweep's model; of several it is asked for each."""
    wrong = [*package_problems(spec), *_pattern_problems(spec)]
    problems = wrong or list(_partition_problems(spec, task))
    incompatible = any(problem.path in ("model.name", SIZE) for problem in problems)
    return problems if incompatible else [*problems, *weights_problems(spec, shape_of(spec, task))]


def _own_model_problems(spec: Spec, task: OpenedTask, is_built: bool) -> Iterator[Problem]:
    """Why a model of the user's own cannot be built or, where it can, cannot be trained."""
    if is_built and not spec.listed_code:
        return  # nothing is imported to look
    from raysel.models import custom_models  # noqa: PLC0415  (imports torch and timm)

    shape = shape_of(spec, task)
    if custom_models.is_custom(spec.model_name):
        facts = (spec.model_name, shape.class_count, shape.channels, shape.image_size)
        why = custom_models.why_not_trained if is_built else custom_models.why_not_built
        yield from (Problem("model.name", reason) for reason in why(*facts))


def has_drop_path(name: str) -> bool:
    """Whether a model has residual branches that timm skips."""
    from raysel.models.drop_path import has_drop_path  # noqa: PLC0415  (imports torch and timm)

    return has_drop_path(name)


def _pattern_problems(spec: Spec) -> Iterator[Problem]:
    if isinstance(spec.model.partition, str):
        return
    for index, pattern in enumerate(spec.model.partition):
        try:
            compiled(pattern)
        except PatternError as error:
            yield Problem(f"model.partition.{index}", str(error))


def _partition_problems(spec: Spec, task: OpenedTask) -> Iterable[Problem]:
    try:
        partition_for(spec, task)
        return list(_own_model_problems(spec, task, is_built=True))
    except UserError as error:
        problems = [_of_fixed_size(spec, problem) for problem in error.problems]
        incompatible = any(problem.path in ("model.name", SIZE) for problem in problems)
        # of a model of the user's own more can be said
        own = _own_model_problems(spec, task, is_built=False) if incompatible else ()
        return list(own) or problems


def _of_fixed_size(spec: Spec, problem: Problem) -> Problem:
    """Rephrase a size problem for data of a fixed image size: another model is needed."""
    if problem.path != SIZE or is_pictures(spec.task):
        return problem
    message = f"{problem.message}; the data's images are of one size, so take another model"
    return Problem("model.name", message)
