"""Validate a sweep of several models, and say what is wrong with one of them at its place in the
file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from raysel.common.errors import Problem, nearest
from raysel.common.text import and_more
from raysel.models.weight_sources import names_weights
from raysel.search.arms import in_file, named_arms
from raysel.spec.arms import name_problem
from raysel.spec.model import PackageWeights
from raysel.spec.sweep import Spec


def several_problems(spec: Spec) -> list[Problem]:
    """What a sweep of several models cannot have, and arms of a model that it has not."""
    found = list(_other_models(spec))
    if len(spec.model.names) > 1:
        found += [*_name_problems(spec), *_weights_problems(spec)]
        if spec.search.prior:
            message = "earlier sweeps are taken up for one model alone; leave it out"
            found.append(Problem("search.prior", message))
    return found


def _other_models(spec: Spec) -> Iterator[Problem]:
    names = spec.model.names
    for arm, chosen in spec.strategies.items():
        if chosen.model is not None and chosen.model not in names:
            hint = nearest(chosen.model, names)
            message = f'"{chosen.model}" is no model of this sweep; {hint}'
            yield Problem(f"strategies.{arm}.model", message)


def _name_problems(spec: Spec) -> Iterator[Problem]:
    """Arms whose names with a model are alike, or can be no names."""
    arms = list(named_arms(spec))
    if lone := [m for m in spec.model.names if m not in {arm.model for _, arm in arms}]:
        yield Problem("model.name", f"no arm is tried with {and_more(lone, 3)}; leave it out")
    for name, count in Counter(name for name, _ in arms).items():
        if count > 1:
            message = f'{count} arms would be called "{name}"; give one of them another name'
            yield Problem("strategies", f"{message}, or leave one of the models out")
        elif name not in spec.strategies and (wrong := name_problem(name)):
            yield Problem("strategies", f'"{name}": {wrong}')


def _weights_problems(spec: Spec) -> Iterator[Problem]:
    """A file has the weights of one model."""
    for path, weights, others in (
        ("model.weights", spec.model.weights, "source or pretrained"),
        ("source.weights", spec.source.weights, "random or pretrained"),
    ):
        if isinstance(weights, PackageWeights) or names_weights(weights):
            message = f"a file has the weights of one model, and the sweep has {spec.model.name}"
            yield Problem(path, f"{message}; give {others}")


def merged(spec: Spec, found: Mapping[str, Sequence[Problem]]) -> list[Problem]:
    """The problems of each model, each once: with the models' names in front, unless all have it.

    Args:
        found: model -> its problems.
    """
    if len(found) == 1:
        return [problem for own in found.values() for problem in own]
    holders: dict[Problem, list[str]] = {}
    for model, own in found.items():
        for problem in dict.fromkeys(in_the_file(spec, own)):
            holders.setdefault(problem, []).append(model)
    return [_of_models(problem, models, spec) for problem, models in holders.items()]


def _of_models(problem: Problem, models: Sequence[str], spec: Spec) -> Problem:
    others = [name for name in spec.model.names if name not in models]
    if not others:
        return problem
    words = problem.message
    if not any(model in words for model in models):
        words = f"with {and_more(models, 3)}: {words}"
    arm = problem.path.split(".")
    if arm[0] == "strategies" and len(arm) > 1 and arm[1] in spec.strategies:
        words = f"{words}; an arm of one model names it: model: {others[0]}"
    return replace(problem, message=words)


def in_the_file(spec: Spec, problems: Iterable[Problem]) -> Iterator[Problem]:
    """Problems of arms at the arms' places in the file, where their names have no model's."""
    short = in_file(spec) if len(spec.model.names) > 1 else {}
    for problem in problems:
        first, *rest = problem.path.split(".")
        if first == "strategies" and rest and rest[0] in short:
            rest[0] = short[rest[0]]
            problem = replace(problem, path=".".join([first, *rest]))
        yield problem
