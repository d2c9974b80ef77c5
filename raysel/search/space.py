"""From the sweep file to an Optuna define-by-run function.

A trial first chooses its arm (an entry of the file's `strategies`), then a value for each thing
that this arm searches. Every searched value is scoped by its arm (`full.learning_rate`,
`bvg_ls.ema_decay`): good rates differ by decades between strategies; a shared one misleads TPE.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raysel.search.distributions import count, described, largest, nearest_value, settled
from raysel.search.layer_sets import GREEDY, KIND, LayerSet
from raysel.search.searched_value import SearchedValue
from raysel.spec.arms import BASELINES, SINGLE
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
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import Strategy, registered
from raysel.strategies.base import Parameter

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

CROSS_VALIDATION = "cross_validation"
"""The search of the surgical papers: the grid in which `surgical` takes every single layer."""

SURGICAL = "surgical"

RATE = "learning_rate"

STRATEGY = "strategy"
"""The name of the choice among the arms."""


def strategies_of(spec: Spec) -> dict[str, StrategySpec]:
    """The arms that are compared, by name: the file's own, then the baselines it omits.

    Under cross-validation one of `surgical` is among them, with every single layer as its block;
    all layers together are `full` and no block (docs/algorithms.md, D11). Under `greedy` layers
    that the file does not name are searched.
    """
    own = dict(spec.strategies)
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
    strategy, chosen = registered()[strategy_of(name, arm)], arm.training
    override = strategy.published if chosen == "published" else chosen or TrainingOverride()
    settings = _fields(spec.training) | _given(override)
    if arm.after is not None:
        settings["wise_ft"] = arm.after.alpha
    if settings["batch_norm"] == "published":
        settings["batch_norm"] = strategy.batch_norm
    return settings


def most_shots(spec: Spec) -> int | None:
    """The most examples of each class that a trial may ask for; None where none asks."""
    given = (settings_of(spec, name)["shots"] for name in strategies_of(spec))
    return max((largest(value) for value in given if value is not None), default=None)


def declared(parameter: Parameter, value: Any, layers: Sequence[str], grows: bool = False) -> Any:
    """Resolve a value of the file: `search` is the strategy's own range.

    Args:
        grows: whether it is a set of layers where it stands for layers, else a single one.
    """
    if value != SEARCH:
        return value
    if parameter.search is not None:
        return parameter.search
    options = {KIND: tuple(layers), "bool": (False, True)}
    kind = LayerSet if grows and parameter.kind == KIND else Choice
    return kind(categorical=options.get(parameter.kind, parameter.options))


class Space:
    """The configurations that a sweep may try.

    Attributes:
        searched: the searched values of each arm that the search tries, in a fixed order.
        registered: each arm's registered strategy, in the order of the file.
        single: the configuration of each arm that has no other; such an arm is not tried in the
            search, unless the file says so (`search.run_single_configurations`).
    """

    def __init__(self, spec: Spec, layers: Sequence[str]) -> None:
        """
        Args:
            spec: a sweep that `raysel.search.validate` accepts.
            layers: names of the model's layers, for `block: search`.
        """
        self._seed = spec.search.seed
        self._constants: dict[str, dict[str, Any]] = {}
        self._settings: dict[str, dict[str, Any]] = {}
        self.searched: dict[str, tuple[SearchedValue, ...]] = {}
        self.registered = registered_strategies(spec)
        grows = spec.search.sampler == GREEDY
        for name, chosen in strategies_of(spec).items():
            strategy = registered()[self.registered[name]]
            parameters = {
                p.name: settled(
                    declared(p, chosen.parameters.get(p.name, p.default), layers, grows)
                )
                for p in strategy.parameters
            }
            settings = {key: settled(value) for key, value in settings_of(spec, name).items()}
            self._constants[name], self._settings[name] = parameters, settings
            self.searched[name] = tuple(
                _searched(name, strategy, value_name, value)
                for value_name, value in (parameters | settings).items()
                if isinstance(value, Distribution)
            )
        self.single: dict[str, TrialConfig] = {}
        if not spec.search.run_single_configurations:
            for name in [name for name, values in self.searched.items() if not values]:
                self.single[name] = self._config(name, {})
                del self.searched[name]

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the arms that the search tries, in the order of the file."""
        return tuple(self.searched)

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of all arms, in the order of the file."""
        return tuple(self.registered)

    def alike(self) -> list[tuple[str, str]]:
        """Pairs of arms that are the same but for their name, each with the first one like it."""
        seen: list[str] = []
        pairs = []
        for arm in self._constants:
            same = (first for first in seen if self._described(first) == self._described(arm))
            if (first := next(same, None)) is not None:
                pairs.append((first, arm))
            seen.append(arm)
        return pairs

    def _described(self, arm: str) -> tuple[Any, ...]:
        return self.registered[arm], self._constants[arm], self._settings[arm]

    @property
    def is_conditional(self) -> bool:
        """Whether which values are searched depends on the arm."""
        return len(self.searched) > 1 and any(self.searched.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that the study may hold, in a fixed order."""
        choice = (STRATEGY,) if len(self.searched) > 1 else ()
        return choice + tuple(value.scoped for own in self.searched.values() for value in own)

    @property
    def growing(self) -> dict[str, SearchedValue]:
        """The arms whose set of layers grows, and that value of each."""
        values = (value for own in self.searched.values() for value in own)
        return {value.strategy: value for value in values if value.layers}

    @property
    def searched_rates(self) -> dict[str, SearchedValue]:
        """The arms whose learning rate is searched in a range, and that value of each."""
        values = (value for own in self.searched.values() for value in own)
        return {
            value.strategy: value
            for value in values
            if value.name == RATE and isinstance(value.distribution, FloatRange)
        }

    def beginning_at(self, rates: Mapping[str, float]) -> Space:
        """The same space, where each of these arms first tries the value of its range that is
        nearest to a learning rate."""

        def moved(value: SearchedValue) -> SearchedValue:
            if value != self.searched_rates.get(value.strategy) or value.strategy not in rates:
                return value
            first = nearest_value(value.distribution, rates[value.strategy])
            return replace(value, published=first, moved_from=None)

        space = copy(self)
        space.searched = {arm: tuple(map(moved, own)) for arm, own in self.searched.items()}
        return space

    @property
    def max_epochs(self) -> int:
        """The most epochs that a trial may take."""
        arms = self.strategies or self.arms
        return max(largest(self._settings[arm]["epochs"]) for arm in arms)

    def suggest(self, trial: BaseTrial) -> TrialConfig:
        """Choose a configuration through the trial: the arm first, then its values."""
        arm = self.strategies[0]
        if len(self.searched) > 1:
            arm = trial.suggest_categorical(STRATEGY, self.strategies)
        return self._config(arm, {value.name: value.suggest(trial) for value in self.searched[arm]})

    def _config(self, arm: str, chosen: Mapping[str, Any]) -> TrialConfig:
        """An arm's configuration with these values for what is searched."""
        parameters, settings = self._constants[arm], self._settings[arm]
        return TrialConfig(
            strategy=self.registered[arm],
            arm=arm,
            parameters={name: chosen.get(name, value) for name, value in parameters.items()},
            training=TrainingSettings.model_validate(
                {name: chosen.get(name, value) for name, value in settings.items()}
            ),
            seed=self._seed,  # one data order for all: the trials are compared in pairs
        )

    def first_configuration(self, arm: str, other: Mapping[str, Any] | None = None) -> TrialConfig:
        """What is tried first of an arm.

        Args:
            other: values in place of the first ones, by their scoped names.
        """
        if arm in self.single:
            return self.single[arm]
        from optuna.trial import FixedTrial  # noqa: PLC0415  (a check of the file needs none)

        given, params = other or {}, {STRATEGY: arm}
        for value in self.searched[arm]:
            params |= value.in_study(given.get(value.scoped, value.published))
        return self.suggest(FixedTrial(params))

    def searched_values(self, config: TrialConfig) -> dict[str, Any]:
        """What was searched in a configuration: name without the arm's scope -> value."""
        settled = config.parameters | _fields(config.training)
        return {value.name: settled[value.name] for value in self.searched.get(config.arm, ())}

    def first_trials(self) -> list[dict[str, Any]]:
        """For each arm what is tried first, as parameters for `study.enqueue_trial`; nothing for
        an arm whose set of layers grows."""
        choice = len(self.searched) > 1
        return [
            ({STRATEGY: strategy} if choice else {}) | {v.scoped: v.published for v in own}
            for strategy, own in self.searched.items()
            if strategy not in self.growing
        ]

    def size(self) -> int | None:
        """How many configurations there are; None where a real number without steps is searched."""
        sizes = [[count(value.distribution) for value in own] for own in self.searched.values()]
        known = [[n for n in own if n is not None] for own in sizes]
        return sum(map(math.prod, known)) if known == sizes else None

    def describe(self) -> dict[str, str]:
        """For each arm what is searched, in words; empty where nothing is."""
        return {arm: ", ".join(map(str, self.searched.get(arm, ()))) for arm in self.arms}

    def moved_notes(self) -> list[str]:
        """Which published values the file's distributions do not hold, in a sentence each."""
        return [
            f"{value.strategy}: {_whose(value.distribution)} {value.name} is {value.moved_from},"
            f" not in {described(value.distribution)}; {value.published} is tried first"
            for own in self.searched.values()
            for value in own
            if value.moved_from is not None
        ]

    def single_note(self) -> str | None:
        """Which arms are not searched, in a sentence."""
        if not self.single:
            return None
        return f"{', '.join(self.single)}: {SINGLE}, so confirmed without a search"


def _whose(distribution: Distribution) -> str:
    """Who says what is tried first: the file, or else the paper."""
    own = getattr(distribution, "first", None)
    return "the published" if own is None else "the first value of"


def _searched(
    arm: str, strategy: type[Strategy], name: str, distribution: Distribution
) -> SearchedValue:
    published = {
        p.name: p.published if p.default is None else p.default for p in strategy.parameters
    }
    training = _defaults() | _given(strategy.published)
    value = published[name] if name in published else training[name]
    if isinstance(distribution, FloatRange | IntRange) and distribution.first is not None:
        value = distribution.first
    held = nearest_value(distribution, value)
    moved = None if value is None or held == value else value
    return SearchedValue(arm, name, distribution, held, moved)


def _defaults() -> dict[str, Any]:
    """raysel's own training constants, for what a paper leaves open."""
    values = _fields(TrainingSpec())
    return {name: None if isinstance(v, Distribution) else v for name, v in values.items()}


def _fields(model: TrainingSpec | TrainingSettings | TrainingOverride) -> dict[str, Any]:
    """The values that a trial has; how it computes them (`cache_features`) is none of them."""
    known = TrainingSettings.model_fields
    fields = {name: getattr(model, name) for name in type(model).model_fields if name in known}
    pull = None if isinstance(model, TrainingSettings) else model.pull
    if pull is not None or isinstance(model, TrainingSpec):
        fields["pull_strength"] = pull.strength if pull else 0.0
    return fields


def _given(override: TrainingOverride) -> dict[str, Any]:
    return {name: value for name, value in _fields(override).items() if value is not None}
