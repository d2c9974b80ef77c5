"""The strategies by name."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

from raysel.spec.sweep import TrainingOverride
from raysel.spec.training import BatchNorm
from raysel.strategies.base import Cost, Need, Strategy
from raysel.strategies.parameter import Parameter

_REGISTRY: dict[str, type[Strategy]] = {}


def register(strategy: type[Strategy]) -> type[Strategy]:
    """Class decorator: make a strategy known by its name.

    Raises:
        TypeError: it is no strategy.
        ValueError: it does not declare what it must, or another class has its name.
    """
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        shown = getattr(strategy, "__name__", repr(strategy))
        raise TypeError(f"{shown} is no strategy; write class {shown}(Strategy):")
    wrong = _undeclared(strategy)
    if wrong:
        raise ValueError(f"{strategy.__name__}: {wrong}")
    known = _REGISTRY.get(strategy.name)
    if known and (known.__module__, known.__qualname__) != (
        strategy.__module__,
        strategy.__qualname__,
    ):
        raise ValueError(f'two strategies are named "{strategy.name}"')
    _REGISTRY[strategy.name] = strategy
    return strategy


def _undeclared(strategy: type[Strategy]) -> str | None:
    """What is wrong with a class's attributes, in words; None if nothing is."""
    for name in ("name", "summary", "paper"):
        value = getattr(strategy, name, None)
        if not isinstance(value, str) or not value:
            return f'{name} is missing; write {name} = "…" in the class'
    if not re.fullmatch(r"\w[\w-]*", strategy.name):
        return f'name "{strategy.name}" is not of letters, digits, _ and - alone'
    if inspect.isabstract(strategy):
        return f"{', '.join(sorted(strategy.__abstractmethods__))}() is missing"
    if not _all_are(strategy.parameters, Parameter):
        return "parameters is no tuple of Parameter(…); (a,) with a comma is one of one"
    names = [parameter.name for parameter in strategy.parameters]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return f'two parameters are named "{twice}"'
    needs = get_args(Need)
    if isinstance(strategy.needs, str) or not set(strategy.needs) <= set(needs):
        return f"needs is no set of {', '.join(needs)}"
    if strategy.batch_norm not in get_args(BatchNorm):
        return f'batch_norm is "{strategy.batch_norm}", not one of {", ".join(get_args(BatchNorm))}'
    kinds = {"published": TrainingOverride, "cost": Cost}
    wrong = (n for n, kind in kinds.items() if not isinstance(getattr(strategy, n), kind))
    return next((f"{name} is no {kinds[name].__name__}(…)" for name in wrong), None)


def _all_are(values: Any, kind: type) -> bool:
    return isinstance(values, tuple | list) and all(isinstance(value, kind) for value in values)


def registered() -> dict[str, type[Strategy]]:
    """Every known strategy by name, in alphabetical order."""
    return dict(sorted(_REGISTRY.items()))
