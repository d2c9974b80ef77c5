"""Validate the strategies and training settings of a sweep against the registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from raysel.common.errors import Problem, nearest
from raysel.common.text import quoted
from raysel.models.partition_types import Partition, joined_layers
from raysel.search.distributions import described
from raysel.search.layer_sets import GREEDY, KIND
from raysel.search.space import (
    CROSS_VALIDATION,
    Space,
    declared,
    registered_strategies,
    strategies_of,
    strategy_of,
)
from raysel.spec import reader
from raysel.spec.arms import arm_of, name_problem
from raysel.spec.sweep import (
    SEARCH,
    Choice,
    Distribution,
    FloatRange,
    IntRange,
    Spec,
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
    """Problems of one arm of a sweep.

    Args:
        name: the arm's.
        layers: the model's, in forward order; None where they are not known.
    """
    path, wanted = f"strategies.{name}", strategy_of(name, chosen)
    given = f"{path}.strategy" if chosen.strategy else path
    strategy = registered().get(wanted)
    if wanted in (CROSS_VALIDATION, GREEDY):
        message = f"is a search and not a strategy; set search.sampler: {wanted}"
        yield Problem(given, message)
        return
    if strategy is None:
        hint = nearest(wanted, registered())
        if chosen.strategy is None and not hint.startswith("did you mean"):
            hint = f"an arm of another name says which: strategy: NAME; {hint}"
        yield Problem(given, f'no strategy is called "{wanted}"; {hint}')
        return
    if wanted != name:
        yield from _name_problems(path, name, wanted)
    yield from _unknown_parameters(path, strategy, chosen)
    for parameter in strategy.parameters:
        for message in _parameter_messages(parameter, chosen, layers):
            yield Problem(f"{path}.{parameter.name}", message)
    if isinstance(chosen.training, TrainingOverride):
        yield from training_problems(f"{path}.training", chosen.training)


def unsuited(spec: Spec, partition: Partition) -> Iterator[Problem]:
    """The arms whose strategy cannot choose among the model's layers."""
    for name, strategy in registered_strategies(spec).items():
        if wrong := registered()[strategy].problem(partition):
            adapted = "; with model.adapter nothing else moves" if spec.model.adapter else ""
            yield Problem(f"strategies.{name}", f"{wrong}{adapted}")
    for name, chosen in strategies_of(spec).items():
        for parameter in registered()[strategy_of(name, chosen)].parameters:
            if parameter.kind == KIND and (idle := _idle_block(parameter, chosen, partition)):
                words = f"the model does not use {idle} for an answer; list other layers"
                yield Problem(f"strategies.{name}.{parameter.name}", words)


def _idle_block(parameter: Parameter, chosen: StrategySpec, partition: Partition) -> str | None:
    """The first value of a block all of whose layers the forward pass does not use."""
    given = chosen.parameters.get(parameter.name, parameter.default)
    for option in _corners(declared(parameter, given, partition.names)):
        named = joined_layers(option, partition.names) if option else partition.names
        if set(named) <= set(partition.unused):
            return str(option)
    return None


def _name_problems(path: str, name: str, strategy: str) -> Iterator[Problem]:
    """What is wrong with the name of an arm that is not named like its strategy."""
    if name in registered():
        message = f'"{name}" is another strategy; give the arm a name of its own, {strategy}_2'
        yield Problem(path, message)
    elif wrong := name_problem(name):
        yield Problem(path, wrong)


def alike_problems(spec: Spec, space: Space) -> Iterator[Problem]:
    """Arms that are the same: one strategy with the same parameters, trained alike."""
    for first, second in space.alike():
        message = (
            f"is the same as {first}: strategy {space.registered[first]} with the same parameters,"
            " trained alike; change one, or leave one out"
        )
        yield Problem(f"strategies.{second if second in spec.strategies else first}", message)
    folded: dict[str, str] = {}
    for name in strategies_of(spec):
        first = folded.setdefault(name.casefold(), name)
        if first != name:
            message = f"differs from {first} in capital letters alone, which folders may not keep"
            yield Problem(f"strategies.{name}", message)


def baseline_notes(strategies: Mapping[str, str]) -> list[str]:
    """What to know of a sweep in which no arm stands for full fine-tuning, and several might.

    Args:
        strategies: arm -> its registered strategy.
    """
    several = [name for name, its in strategies.items() if its == "full"]
    if len(several) < 2 or arm_of("full", strategies):
        return []
    listed = ", ".join(several)
    return [
        f"verdict: several arms are full fine-tuning ({listed}) and none is named full, so nothing"
        " is compared with it; name one of them full, or give verdict.contrasts"
    ]


def _unknown_parameters(
    path: str, strategy: type[Strategy], chosen: StrategySpec
) -> Iterator[Problem]:
    declared = [parameter.name for parameter in strategy.parameters]
    for name in chosen.parameters:
        if name in TrainingOverride.model_fields:
            yield Problem(f"{path}.{name}", f"it belongs below training: {path}.training.{name}")
        elif name not in declared:
            near = f"{strategy.name} has no such parameter; "
            near += nearest(name, [*declared, "model", "training", "after"])
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
        missing = f"declares no range to search; give {_accepted(parameter)}"
        return [] if parameter.has_search else [missing]
    if isinstance(value, Distribution) and not isinstance(value, DISTRIBUTIONS[parameter.kind]):
        return [f"{described(value)} is not accepted; give {_accepted(parameter)}"]
    if parameter.kind == "layers" and layers is None:
        return []
    messages = (parameter.problem(corner, layers or ()) for corner in _corners(value))
    if found := list(filter(None, messages))[:1]:
        return found
    return _same_layers(_corners(value), layers or ()) if parameter.kind == KIND else []


def _same_layers(values: Sequence[str], layers: Sequence[str]) -> list[str]:
    """Of the options of a block two that are the same layers in another order."""
    first: dict[frozenset[str], str] = {}
    for value in values:
        same = first.setdefault(frozenset(joined_layers(value, layers)), value)
        if same is not value:
            return [f"{quoted(value)} is {quoted(same)} again; leave one out"]
    return []


def _accepted(parameter: Parameter) -> str:
    """What may stand for a parameter, in words."""
    return {
        "float": f"a number in {parameter.interval()}, or {{float: [low, high]}}",
        "int": f"a whole number in {parameter.interval()}, or {{int: [low, high]}}",
        "bool": "true, false, or search",
        "choice": f"{', '.join(parameter.options)}, {{categorical: [a, b]}}, or search",
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
    if training.pull is not None and isinstance(training.pull.strength, Distribution):
        message = _setting_message("pull_strength", _corners(training.pull.strength))
        if message:
            yield Problem(f"{path}.pull.strength", message)


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
