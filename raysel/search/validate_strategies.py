"""Validate the strategies and training settings of a sweep against the registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from raysel.common.errors import Problem, nearest
from raysel.search.space import CROSS_VALIDATION, described
from raysel.spec import reader
from raysel.spec.sweep import (
    SEARCH,
    Choice,
    Distribution,
    FloatRange,
    IntRange,
    StrategySpec,
    TrainingOverride,
    TrainingSettings,
    TrainingSpec,
)
from raysel.spec.unsupported import unknown_key
from raysel.strategies import Strategy, registered
from raysel.strategies.parameter import DISTRIBUTIONS, Parameter


def strategy_problems(
    name: str, chosen: StrategySpec, layers: Sequence[str] | None
) -> Iterator[Problem]:
    """Problems of one strategy of a sweep.

    Args:
        layers: the model's, in forward order; None where they are not known.
    """
    path, strategy = f"strategies.{name}", registered().get(name)
    if name == CROSS_VALIDATION:
        message = "is a search and not a strategy; set search.sampler: cross_validation"
        yield Problem(path, message)
        return
    if strategy is None:
        yield Problem(path, f'no strategy is called "{name}"; {nearest(name, registered())}')
        return
    yield from _unknown_parameters(path, strategy, chosen)
    for parameter in strategy.parameters:
        for message in _parameter_messages(parameter, chosen, layers):
            yield Problem(f"{path}.{parameter.name}", message)
    if isinstance(chosen.training, TrainingOverride):
        yield from training_problems(f"{path}.training", chosen.training)


def _unknown_parameters(
    path: str, strategy: type[Strategy], chosen: StrategySpec
) -> Iterator[Problem]:
    declared = [parameter.name for parameter in strategy.parameters]
    for name in chosen.parameters:
        if name in TrainingOverride.model_fields:
            yield Problem(f"{path}.{name}", f"it belongs below training: {path}.training.{name}")
        elif name not in declared:
            near = f"{strategy.name} has no such parameter; "
            near += nearest(name, [*declared, "training"])
            message = unknown_key(name, declared, near)
            yield Problem(f"{path}.{name}", message.removeprefix("unknown key; "))


def _parameter_messages(
    parameter: Parameter, chosen: StrategySpec, layers: Sequence[str] | None
) -> Iterable[str]:
    """Problems of one parameter of a strategy; `layers` is None if unknown."""
    value = chosen.parameters.get(parameter.name, parameter.default)
    if value is None:
        return [] if parameter.optional else [f"is missing: {parameter.help}"]
    if value == SEARCH:
        known = parameter.search is not None or parameter.kind == "layers"
        return [] if known else [f"declares no range to search; give {_accepted(parameter)}"]
    if isinstance(value, Distribution) and not isinstance(value, DISTRIBUTIONS[parameter.kind]):
        return [f"{described(value)} is not accepted; give {_accepted(parameter)}"]
    if parameter.kind == "layers" and layers is None:
        return []
    messages = (parameter.problem(corner, layers or ()) for corner in _corners(value))
    return list(filter(None, messages))[:1]


def _accepted(parameter: Parameter) -> str:
    """What may stand for a parameter, in words."""
    return {
        "float": f"a number in {parameter.interval()}, or {{float: [low, high]}}",
        "int": f"a whole number in {parameter.interval()}, or {{int: [low, high]}}",
        "bool": "true, false, or {categorical: [true, false]}",
        "choice": f"{', '.join(parameter.options)}, or {{categorical: [a, b]}}",
        "layers": "layer names joined by +, {categorical: [a, b]}, or search",
    }[parameter.kind]


def _corners(value: Any) -> Sequence[Any]:
    """The values to check for all that a constant or distribution may give."""
    if isinstance(value, Choice):
        return value.options
    return value.bounds if isinstance(value, FloatRange | IntRange) else (value,)


def training_problems(path: str, training: TrainingSpec | TrainingOverride) -> Iterator[Problem]:
    """Distributions that reach beyond what the setting itself may be."""
    for name in type(training).model_fields:
        value = getattr(training, name)
        if isinstance(value, Distribution):
            message = _setting_message(name, _corners(value))
            if message:
                yield Problem(f"{path}.{name}", message)


def _setting_message(name: str, values: Sequence[Any]) -> str | None:
    setting: TypeAdapter[Any] = TypeAdapter(
        TrainingSettings.model_fields[name].rebuild_annotation()
    )
    for value in values:
        try:
            setting.validate_python(value)
        except ValidationError as error:
            return reader.explain(error.errors()[0])
    return None
