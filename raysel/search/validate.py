"""Validate a sweep against the registry, the model's real layers, the data and the machine:
everything that can be known without compute, all of it reported together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from raysel.common.errors import Problem, UserError
from raysel.models.known_models import facts_of
from raysel.search.arms import (
    most_shots,
    of_model,
    registered_strategies,
    strategies_of,
    strategy_of,
)
from raysel.search.trial_budget import may_repeat, space_notes
from raysel.search.validate_adapter import adapter_problems
from raysel.search.validate_confirm import confirm_notes, confirm_problems, verdict_problems
from raysel.search.validate_first import first_problems
from raysel.search.validate_greedy import greedy_problems, growth_problems
from raysel.search.validate_model import cost_problems, has_drop_path, model_problems, shape_of
from raysel.search.validate_model import partition_for as partition_for
from raysel.search.validate_model import space_for as space_for
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
from raysel.search.validate_several import in_the_file, merged, several_problems
from raysel.search.validate_source import source_problems
from raysel.search.validate_strategies import (
    alike_problems,
    baseline_notes,
    strategy_problems,
    training_problems,
    unsuited,
)
from raysel.search.validate_weights import weights_notes
from raysel.spec import reader, user_code
from raysel.spec.sweep import Spec, StrategySpec
from raysel.strategies import registered
from raysel.tasks.opened_task import OpenedTask, counted_task, open_task
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
    each = {name: of_model(spec, name) for name in spec.model.names}
    checked = {name: _check_model(own, task) for name, own in each.items()}
    found = {name: one.problems for name, one in checked.items()}
    several = several_problems(spec)
    problems = [*task.problems, *several, *merged(spec, found)]
    tried = tuple(strategies_of(spec))
    if all(one.has_space for one in checked.values()) and not several:
        space = space_for(spec, task)
        tried = space.strategies
        of_space = [*grid_problems(spec, space), *alike_problems(spec, space)]
        of_space += [*configuration_problems(spec, space), *growth_problems(spec, space)]
        problems += in_the_file(spec, [*of_space, *first_problems(spec, space)])
        problems += cost_problems(spec, task)
    rest = (
        merged(spec, {name: list(source_problems(own)) for name, own in each.items()}),
        budget_problems(spec, tried),
        cross_validation_problems(spec),
        greedy_problems(spec),
        allocation_problems(spec),
        prior_problems(spec),
        confirm_problems(spec, task),
        verdict_problems(spec),
        objective_problems(spec, lambda: _class_count(each.values(), task), task.has_groups),
        place_problems(spec),
    )
    return [*problems, *itertools.chain(*rest)]


@dataclass(frozen=True)
class _Checked:
    """What a sweep has wrong with one of its models, and whether its space can be made."""

    problems: list[Problem]
    has_space: bool


def _check_model(spec: Spec, task: OpenedTask) -> _Checked:
    """Check the model of a sweep of one, and its arms."""
    model = model_problems(spec, task)
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
    problems = [*model, *strategies, *training]
    if not task.problems:
        problems += _source_problems(spec, task)
    if not strategies and not training and not model:
        problems += recipe_problems(spec, lambda: has_drop_path(spec.model_name))
        problems += adapter_problems(spec)
    if not task.problems and not strategies and not training:
        problems += _shots_problems(spec, task)
    return _Checked(problems, layers is not None and not strategies and not training)


def _class_count(specs: Iterable[Spec], task: OpenedTask) -> int:
    return shape_of(next(iter(specs)), task).class_count


def notes(spec: Spec, task: OpenedTask) -> list[str]:
    """Notes about a valid sweep: defaults of omitted keys, what
    will be downloaded, layers that leave little to choose, configurations that may be tried
    twice."""
    space = space_for(spec, task)
    few = may_repeat(spec.search, space)
    counts = ", ".join(f"{strategy} {count}" for strategy, count in few.items())
    repeats = (
        f"search: few configurations ({counts}): one that is chosen again runs as a replicate, "
        "with a seed of its own"
    )
    baselines = [] if space.models else baseline_notes(registered_strategies(spec))
    arms = [*baselines, *space_notes(spec.search, space)]
    phase = [*objective_notes(spec), *confirm_notes(spec.confirm)]
    each = [of_model(spec, name) for name in spec.model.names]
    weights = dict.fromkeys(n for own in each for n in weights_notes(own, shape_of(own, task)))
    mine = [note for own in each for note in facts_of(own.model_name).notes]
    layers = [note for own in each for note in _layer_notes(own, task, len(each) > 1)]
    notes = [*phase, *arms, *weights, *task.notes(), *mine, *layers]
    return notes + ([repeats] if few else [])


def _layer_notes(spec: Spec, task: OpenedTask, of_several: bool) -> list[str]:
    head = f"model.partition: {spec.model_name}: " if of_several else "model.partition: "
    return [f"{head}{note}" for note in partition_for(spec, task).notes]


def reads_source(spec: Spec) -> bool:
    """Whether the sweep needs the source part: its model is trained on it, or a strategy looks
    at it."""
    return spec.model.weights == "source" or needs_source(spec)


def needs_source(spec: Spec) -> bool:
    """Whether a strategy of the sweep looks at the source part; of one of several models also one
    that is tried with another, for they share the data."""
    every = {**spec.strategies, **strategies_of(spec)}
    return any(_needs_source(name, arm) for name, arm in every.items())


def _needs_source(name: str, arm: StrategySpec) -> bool:
    """Whether an arm looks at it."""
    strategy = registered().get(strategy_of(name, arm))
    return strategy is not None and bool(strategy.needs_with(arm.parameters))


def _source_problems(spec: Spec, task: OpenedTask) -> Iterator[Problem]:
    """What asks for source data on a task without."""
    if task.has_source():
        return
    if spec.model.weights == "source":
        remedy = "give task.split.test or task.source a number, or take pretrained or a file here"
        yield Problem("model.weights", f"the task leaves no source part to train on; {remedy}")
    for name, arm in strategies_of(spec).items():
        if _needs_source(name, arm):
            yield Problem(f"strategies.{name}", "needs source data; the task has none")


def _shots_problems(spec: Spec, task: OpenedTask) -> Iterator[Problem]:
    """Trials that ask for more examples of a class than the training part has."""
    shots = most_shots(spec)
    there = None if shots is None else task.training_labels()
    if shots is not None and there is not None and (message := shortage(*there, shots)):
        yield Problem("training.shots", message)
