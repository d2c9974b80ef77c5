"""Validate a sweep against the registry, the model's real layers, the data and the machine:
everything that can be known without compute, all of it reported together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from raysel.common.errors import Problem, UserError
from raysel.models.known_models import facts_of, partition_of
from raysel.models.partition_types import SIZE, Partition
from raysel.models.patterns import PatternError, compiled
from raysel.search.space import (
    Space,
    most_shots,
    registered_strategies,
    strategies_of,
)
from raysel.search.trial_budget import may_repeat, space_notes
from raysel.search.validate_adapter import adapter_problems, package_problems
from raysel.search.validate_confirm import confirm_notes, confirm_problems, verdict_problems
from raysel.search.validate_first import first_problems
from raysel.search.validate_greedy import greedy_problems, growth_problems
from raysel.search.validate_objective import objective_notes, objective_problems
from raysel.search.validate_places import place_problems
from raysel.search.validate_prior import prior_problems
from raysel.search.validate_recipe import recipe_problems
from raysel.search.validate_search import (
    allocation_problems,
    budget_problems,
    configuration_problems,
    cross_validation_problems,
    grid_problems,
)
from raysel.search.validate_source import source_problems
from raysel.search.validate_strategies import (
    alike_problems,
    baseline_notes,
    strategy_problems,
    training_problems,
    unsuited,
)
from raysel.search.validate_weights import weights_notes, weights_problems
from raysel.spec import reader, user_code
from raysel.spec.sweep import Spec
from raysel.strategies import registered
from raysel.tasks.datasets import is_pictures
from raysel.tasks.opened_task import OpenedTask, TaskShape, counted_task, open_task
from raysel.tasks.shots import shortage


def read(path: Path, overrides: Iterable[str] = ()) -> Spec:
    """Read a sweep file, run the code that it names, and check it.

    Args:
        path: the YAML file.
        overrides: `a.b=c` strings, applied on top.

    Returns:
        The sweep, its code files by absolute path and hash.

    Raises:
        UserError: all problems, with their line numbers.
    """
    return read_opened(path, overrides)[0]


def read_opened(
    path: Path, overrides: Iterable[str] = (), counted: bool = False
) -> tuple[Spec, OpenedTask]:
    """Like `read`, with the data set that was opened for it.

    Args:
        counted: see `check`.
    """
    file = reader.read(path, overrides)
    spec = file.spec()
    try:
        sources = user_code.read(spec.listed_code, path.parent)
    except UserError as error:
        raise UserError(*file.locate(error.problems)) from None
    user_code.load(sources)
    spec = user_code.located(spec, sources)
    task = open_task(spec.task)
    problems = check(spec, task, counted)
    if problems:
        raise UserError(*file.locate(problems))
    return spec, task


def check(spec: Spec, task: OpenedTask | None = None, counted: bool = False) -> list[Problem]:
    """Everything wrong with a sweep that can be known without compute; nothing is written.

    Args:
        task: the sweep's, where it was opened before.
        counted: whether data that are not there hold the split, by their published counts; where
            the data must be there, their absence is what is said.
    """
    task = task or open_task(spec.task)
    if counted and task.missing is not None and (known := counted_task(spec.task)) is not None:
        task = replace(task, problems=(*task.problems, *known.problems))
    model = _model_problems(spec, task)
    partition = None if model else partition_for(spec, task)
    layers = None if partition is None else partition.names
    strategies = [
        problem
        for name, chosen in strategies_of(spec).items()
        for problem in strategy_problems(name, chosen, layers)
    ]
    if partition is not None and not strategies:
        strategies = list(unsuited(spec, partition))
    training = list(training_problems("training", spec.training))
    tried = tuple(strategies_of(spec))
    problems = [*task.problems, *model, *strategies, *training]
    if not task.problems:
        problems += _source_problems(spec, task)
    if not strategies and not training and not model:
        problems += recipe_problems(spec, lambda: _has_drop_path(spec.model.name))
        problems += adapter_problems(spec)
    if not task.problems and not strategies and not training:
        problems += _shots_problems(spec, task)
    if layers is not None and not strategies and not training:
        space = Space(spec, layers)
        tried = space.strategies
        problems += [*grid_problems(spec, space), *alike_problems(spec, space)]
        problems += [*configuration_problems(spec, space), *growth_problems(spec, space)]
        problems += first_problems(spec, space)
    rest = (
        source_problems(spec),
        budget_problems(spec, tried),
        cross_validation_problems(spec),
        greedy_problems(spec),
        allocation_problems(spec),
        prior_problems(spec),
        confirm_problems(spec, task),
        verdict_problems(spec),
        objective_problems(spec, lambda: _shape(spec, task).class_count, task.has_groups),
        place_problems(spec),
    )
    return [*problems, *itertools.chain(*rest)]


def notes(spec: Spec, task: OpenedTask) -> list[str]:
    """Notes about a valid sweep: defaults of omitted keys, what
    will be downloaded, layers that leave little to choose, configurations that may be tried
    twice."""
    partition = partition_for(spec, task)
    space = Space(spec, partition.names)
    few = may_repeat(spec.search, space)
    counts = ", ".join(f"{strategy} {count}" for strategy, count in few.items())
    repeats = (
        f"search: few configurations ({counts}): one that is chosen again runs as a replicate, "
        "with a seed of its own"
    )
    mine = facts_of(spec.model.name).notes
    layers = [f"model.partition: {note}" for note in partition.notes]
    arms = [*baseline_notes(registered_strategies(spec)), *space_notes(spec.search, space)]
    phase = [*objective_notes(spec), *confirm_notes(spec.confirm)]
    notes = [*phase, *arms, *weights_notes(spec, _shape(spec, task)), *task.notes(), *mine, *layers]
    return notes + ([repeats] if few else [])


def reads_source(spec: Spec) -> bool:
    """Whether the sweep needs the source part: its model is trained on it, or a strategy looks
    at it."""
    return spec.model.weights == "source" or needs_source(spec)


def needs_source(spec: Spec) -> bool:
    """Whether a strategy of the sweep looks at the source part."""
    return any(_needs_source(spec, arm) for arm in strategies_of(spec))


def _needs_source(spec: Spec, arm: str) -> bool:
    """Whether an arm looks at it."""
    strategy = registered().get(registered_strategies(spec)[arm])
    return strategy is not None and bool(strategy.needs_with(strategies_of(spec)[arm].parameters))


def partition_for(spec: Spec, task: OpenedTask) -> Partition:
    """The layers of the sweep's model for its task, without allocating its weights.

    Raises:
        UserError: there is no such model, it does not run on the task's images, or the
            partition's patterns do not fit it.
    """
    shape = _shape(spec, task)
    return partition_of(
        spec.model.name,
        spec.model.partition,
        shape.class_count,
        channels=shape.channels,
        head=spec.model.head,
        image_size=shape.image_size,
        adapter=spec.model.adapter,
    )


def _shape(spec: Spec, task: OpenedTask) -> TaskShape:
    """The task's shape; the model's own where the task is wrong, as the layers are the same."""
    expected = facts_of(spec.model.name).input
    try:
        return task.shape(expected)
    except UserError:
        size = (expected.size, expected.size)
        return TaskShape(channels=3, image_size=size, class_count=10)


# --- the model ------------------------------------------------------------------------------


def _model_problems(spec: Spec, task: OpenedTask) -> list[Problem]:
    wrong = [*package_problems(spec), *_pattern_problems(spec)]
    problems = wrong or list(_partition_problems(spec, task))
    incompatible = any(problem.path in ("model.name", SIZE) for problem in problems)
    return problems if incompatible else [*problems, *weights_problems(spec, _shape(spec, task))]


def _own_model_problems(spec: Spec, task: OpenedTask, is_built: bool) -> Iterator[Problem]:
    """Why a model of the user's own cannot be built or, where it can, cannot be trained."""
    if is_built and not spec.listed_code:
        return  # nothing is imported to look
    from raysel.models import custom_models  # noqa: PLC0415  (imports torch and timm)

    shape = _shape(spec, task)
    if custom_models.is_custom(spec.model.name):
        facts = (spec.model.name, shape.class_count, shape.channels, shape.image_size)
        why = custom_models.why_not_trained if is_built else custom_models.why_not_built
        yield from (Problem("model.name", reason) for reason in why(*facts))


def _has_drop_path(name: str) -> bool:
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


def _source_problems(spec: Spec, task: OpenedTask) -> Iterator[Problem]:
    """What asks for source data on a task without."""
    if task.has_source():
        return
    if spec.model.weights == "source":
        remedy = "give task.split.test or task.source a number, or take pretrained or a file here"
        yield Problem("model.weights", f"the task leaves no source part to train on; {remedy}")
    for name in strategies_of(spec):
        if _needs_source(spec, name):
            yield Problem(f"strategies.{name}", "needs source data; the task has none")


def _shots_problems(spec: Spec, task: OpenedTask) -> Iterator[Problem]:
    """Trials that ask for more examples of a class than the training part has."""
    shots = most_shots(spec)
    there = None if shots is None else task.training_labels()
    if shots is not None and there is not None and (message := shortage(*there, shots)):
        yield Problem("training.shots", message)
