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

from raysel.search.arms import CROSS_VALIDATION as CROSS_VALIDATION
from raysel.search.arms import SURGICAL as SURGICAL
from raysel.search.arms import fields_of, given_by
from raysel.search.arms import most_shots as most_shots
from raysel.search.arms import registered_strategies as registered_strategies
from raysel.search.arms import settings_of as settings_of
from raysel.search.arms import strategies_of as strategies_of
from raysel.search.arms import strategy_of as strategy_of
from raysel.search.distributions import count, described, largest, nearest_value, settled
from raysel.search.layer_sets import GREEDY, KIND, LayerSet
from raysel.search.searched_value import SearchedValue
from raysel.spec.arms import SINGLE
from raysel.spec.sweep import (
    SEARCH,
    Choice,
    Distribution,
    FloatRange,
    IntRange,
    Spec,
    TrainingSettings,
    TrainingSpec,
)
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import Strategy, registered
from raysel.strategies.base import Parameter

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

RATE = "learning_rate"

STRATEGY = "strategy"
"""The name of the choice among the arms."""


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
        models: each arm's model, in a sweep of several; else empty.
        costs: each arm's cost of a picture, where the trials are shared out by it; else empty.
        single: the configuration of each arm that has no other; such an arm is not tried in the
            search, unless the file says so (`search.run_single_configurations`).
    """

    def __init__(
        self,
        spec: Spec,
        layers: Sequence[str] | Mapping[str, Sequence[str]],
        costs: Mapping[str, float] | None = None,
    ) -> None:
        """
        Args:
            spec: a sweep that `raysel.search.validate` accepts.
            layers: names of the model's layers, for `block: search`; of several models those of
                each.
            costs: of a picture with each model, where the trials are shared out by it.
        """
        self._seed = spec.search.seed
        several = len(spec.model.names) > 1
        arms = strategies_of(spec)
        self.models = {name: arm.model or "" for name, arm in arms.items()} if several else {}
        self.costs = {name: costs[model] for name, model in self.models.items()} if costs else {}
        self._constants: dict[str, dict[str, Any]] = {}
        self._settings: dict[str, dict[str, Any]] = {}
        self.searched: dict[str, tuple[SearchedValue, ...]] = {}
        self.registered = registered_strategies(spec)
        grows = spec.search.sampler == GREEDY
        for name, chosen in arms.items():
            strategy = registered()[self.registered[name]]
            own = layers[chosen.model or ""] if isinstance(layers, Mapping) else layers
            parameters = {
                p.name: settled(declared(p, chosen.parameters.get(p.name, p.default), own, grows))
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
        facts = self.registered[arm], self._constants[arm], self._settings[arm]
        return *facts, self.models.get(arm)

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
            model=self.models.get(arm, ""),
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
        settled = config.parameters | fields_of(config.training)
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
    training = _defaults() | given_by(strategy.published)
    value = published[name] if name in published else training[name]
    if isinstance(distribution, FloatRange | IntRange) and distribution.first is not None:
        value = distribution.first
    held = nearest_value(distribution, value)
    moved = None if value is None or held == value else value
    return SearchedValue(arm, name, distribution, held, moved)


def _defaults() -> dict[str, Any]:
    """raysel's own training constants, for what a paper leaves open."""
    values = fields_of(TrainingSpec())
    return {name: None if isinstance(v, Distribution) else v for name, v in values.items()}
