"""Validate how the source model is to be trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raysel.common.errors import Problem, nearest
from raysel.models.known_models import facts_of
from raysel.models.weight_sources import names_weights
from raysel.spec.source import SourceSpec
from raysel.spec.sweep import Spec
from raysel.strategies import registered
from raysel.strategies.parameter import Parameter
from raysel.tasks.datasets import is_pictures


def source_problems(spec: Spec) -> Iterator[Problem]:
    """What is wrong with a sweep's `source`; nothing is trained."""
    source = spec.source
    if source == SourceSpec():
        return
    if spec.model.weights != "source":
        message = f"no source model is trained with model.weights: {spec.model.weights}"
        yield Problem("source", f"{message}; leave it out, or give model.weights: source")
        return
    yield from _strategy_problems(source)
    if source.augmentation not in (None, "none") and not is_pictures(spec.task):
        message = f"{spec.task.name} is embedded and stays as it is; leave it out"
        yield Problem("source.augmentation", message)
    yield from _weights_problems(spec)


def _strategy_problems(source: SourceSpec) -> Iterator[Problem]:
    path, strategy = "source.strategy", registered().get(source.strategy)
    if strategy is None:
        hint = nearest(source.strategy, registered())
        yield Problem(path, f'no strategy is called "{source.strategy}"; {hint}')
        return
    yield from _parameter_problems(source, strategy.parameters)
    missing = [p.name for p in strategy.parameters if p.default is None and not p.optional]
    if missing:
        message = f"{strategy.name} needs {', '.join(missing)}, which cannot be given here"
        yield Problem(path, f"{message}; take full, linear_probe, lp_ft or gradual_unfreeze")
    elif strategy.needs_with(source.parameters):
        message = f"{strategy.name} compares with a source model, which is only made here"
        yield Problem(path, f"{message}; take full, linear_probe, lp_ft or gradual_unfreeze")


def _parameter_problems(source: SourceSpec, known: Sequence[Parameter]) -> Iterator[Problem]:
    """Values that the strategy has not, or does not take."""
    by_name = {parameter.name: parameter for parameter in known}
    for name, value in source.parameters.items():
        path = f"source.parameters.{name}"
        if name not in by_name:
            hint = nearest(name, by_name) if by_name else "it has none"
            yield Problem(path, f"{source.strategy} has no such parameter; {hint}")
        elif wrong := by_name[name].problem(value, ()):
            yield Problem(path, wrong)


def _weights_problems(spec: Spec) -> Iterator[Problem]:
    path, weights = "source.weights", spec.source.weights
    if weights == "random":
        return
    if weights == "pretrained":
        if not facts_of(spec.model_name).has_weights:
            message = f"timm has no weights for {spec.model_name}; give random or a file"
            yield Problem(path, message)
    elif not names_weights(weights):
        hint = nearest(str(weights), ["random", "pretrained"])
        yield Problem(path, f'there is no file of weights "{weights}"; {hint}, or a file\'s path')
