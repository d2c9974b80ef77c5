"""The arms of a sweep: the entries of the file, the baselines that it omits, and of several models
each with each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from raysel.common.text import and_more
from raysel.search.distributions import largest
from raysel.search.layer_sets import GREEDY, KIND
from raysel.spec.arms import BASELINES, arm_with_model
from raysel.spec.sweep import (
    SEARCH,
    Spec,
    StrategySpec,
    TrainingOverride,
    TrainingSettings,
    TrainingSpec,
)
from raysel.strategies import registered

CROSS_VALIDATION = "cross_validation"
"""The search of the surgical papers: the grid in which `surgical` takes every single layer."""

SURGICAL = "surgical"


def strategies_of(spec: Spec) -> dict[str, StrategySpec]:
    """The arms that are compared, by name: the file's own, then the baselines it omits.

    Of several models each arm of the file is one arm with each (`full-resnet10t`), beside each
    other; one that names its model is tried with that one, under its own name.
    """
    return dict(named_arms(spec))


def named_arms(spec: Spec) -> Iterator[tuple[str, StrategySpec]]:
    """The same as pairs, in which a name may come twice."""
    models = spec.model.names
    each = {model: _with_model(spec, model) for model in models}
    if len(models) == 1:
        yield from each[models[0]].items()
        return
    for name in dict.fromkeys(name for own in each.values() for name in own):
        for model, own in each.items():
            if (arm := own.get(name)) is not None:
                settled = {"model": model, "strategy": strategy_of(name, arm)}
                short = name if arm.model else arm_with_model(name, model)
                yield short, arm.model_copy(update=settled)


def _with_model(spec: Spec, model: str) -> dict[str, StrategySpec]:
    """The arms that are tried with a model.

    Under cross-validation one of `surgical` is among them, with every single layer as its block;
    all layers together are `full` and no block (docs/algorithms.md, D11). Under `greedy` layers
    that the file does not name are searched.
    """
    own = {name: arm for name, arm in spec.strategies.items() if arm.model in (None, model)}
    if spec.search.sampler == GREEDY:
        own = {name: _with_layers_searched(name, arm) for name, arm in own.items()}
    if spec.search.sampler == CROSS_VALIDATION:
        if SURGICAL not in map(strategy_of, own, own.values()):
            own[SURGICAL] = StrategySpec()
        for name, arm in own.items():
            if strategy_of(name, arm) == SURGICAL:
                blocks = arm.parameters | {"block": SEARCH}
                own[name] = arm.model_copy(update={"parameters": blocks})
    there = {*own, *map(strategy_of, own, own.values())}
    added = BASELINES if spec.search.baselines else ()
    return own | {name: StrategySpec() for name in added if name not in there}


def of_model(spec: Spec, model: str) -> Spec:
    """The part of a sweep that has one of its models: a sweep of this model alone, whose arms have
    their names in the whole. It knows those of the other models too, for they share its data.

    Args:
        model: empty of a sweep of one model, which is this part.
    """
    if len(spec.model.names) == 1:
        return spec
    name = {"model": spec.model.model_copy(update={"name": model})}
    search = {"search": spec.search.model_copy(update={"baselines": False})}
    return spec.model_copy(update=name | search | {"strategies": strategies_of(spec)})


def in_file(spec: Spec) -> dict[str, str]:
    """Each arm that is compared -> its name in the file, without the model's."""
    every = (name for model in spec.model.names for name in _with_model(spec, model))
    short = {arm_with_model(n, m): n for n in dict.fromkeys(every) for m in spec.model.names}
    return {n: n if n in spec.strategies else short.get(n, n) for n in strategies_of(spec)}


def _with_layers_searched(name: str, arm: StrategySpec) -> StrategySpec:
    strategy = registered().get(strategy_of(name, arm))
    named = (p.name for p in (strategy.parameters if strategy else ()) if p.kind == KIND)
    searched = {name: SEARCH for name in named if arm.parameters.get(name) is None}
    return arm.model_copy(update={"parameters": arm.parameters | searched}) if searched else arm


def strategy_of(name: str, arm: StrategySpec) -> str:
    """The registered strategy of an arm."""
    return arm.strategy or name


def registered_strategies(spec: Spec) -> dict[str, str]:
    """Each arm that is compared -> its registered strategy."""
    return {name: strategy_of(name, arm) for name, arm in strategies_of(spec).items()}


def settings_of(spec: Spec, name: str) -> dict[str, Any]:
    """How the trials of an arm train: each field of `TrainingSettings`, a constant or a
    distribution."""
    arm = strategies_of(spec)[name]
    strategy = registered()[strategy_of(name, arm)]
    settings = fields_of(spec.training) | given_by(_own_training(name, arm))
    if arm.after is not None:
        settings["wise_ft"] = arm.after.alpha
    if settings["batch_norm"] == "published":
        settings["batch_norm"] = strategy.batch_norm
    return settings


def _own_training(name: str, arm: StrategySpec) -> TrainingOverride:
    if arm.training == "published":
        return registered()[strategy_of(name, arm)].published
    return arm.training or TrainingOverride()


def not_for_all(overrides: Iterable[str], spec: Spec) -> list[str]:
    """A sentence for each common training value that is given by `--set` while arms have one of
    their own, which holds for them."""
    own = {name: _own_training(name, arm) for name, arm in spec.strategies.items()}
    sentences = []
    for override in overrides:
        path, _, value = override.partition("=")
        first, _, key = path.strip().partition(".")
        field = key.partition(".")[0]
        arms = [
            name for name, training in own.items() if getattr(training, field, None) is not None
        ]
        if first == "training" and arms:
            have = "has its own" if len(arms) == 1 else "have their own"
            published = spec.strategies[arms[0]].training == "published"
            to_change = f"--set strategies.{arms[0]}.training.{key}={value}"
            words = "training: published" if published else to_change
            sentences.append(f"--set training.{key}: {and_more(arms)} {have} ({words})")
    return sentences


def most_shots(spec: Spec) -> int | None:
    """The most examples of each class that a trial may ask for; None where none asks."""
    given = (settings_of(spec, name)["shots"] for name in strategies_of(spec))
    return max((largest(value) for value in given if value is not None), default=None)


def fields_of(model: TrainingSpec | TrainingSettings | TrainingOverride) -> dict[str, Any]:
    """The values that a trial has; how it computes them (`cache_features`) is none of them."""
    known = TrainingSettings.model_fields
    fields = {name: getattr(model, name) for name in type(model).model_fields if name in known}
    pull = None if isinstance(model, TrainingSettings) else model.pull
    if pull is not None or isinstance(model, TrainingSpec):
        fields["pull_strength"] = pull.strength if pull else 0.0
    return fields


def given_by(override: TrainingOverride) -> dict[str, Any]:
    """The values that an arm overrides."""
    return {name: value for name, value in fields_of(override).items() if value is not None}
