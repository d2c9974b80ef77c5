"""The strategies by name: those of this package, of the user's own files, and of other packages.

A package brings strategies by an entry point of the group `raysel.strategies`, in its
`pyproject.toml`:

    [project.entry-points."raysel.strategies"]
    fair_share = "my_package.fair_share:FairShare"

The value names a `Strategy` class, or a module that registers its classes by `@register`. They are
loaded when the strategies are first asked for; a sweep file, `raysel strategies` and
`raysel.LayerwiseSGD` then know them by their `name`. On a cluster the package has to be installed
on every node.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, get_args

from raysel.common.errors import Problem, UserError, nearest, user_error
from raysel.common.text import first_line
from raysel.spec.sweep import TrainingOverride
from raysel.spec.training import BatchNorm
from raysel.strategies.base import Cost, Need, Strategy
from raysel.strategies.parameter import Parameter

GROUP = "raysel.strategies"
"""The group of entry points by which other packages bring strategies."""

_REGISTRY: dict[str, type[Strategy]] = {}
_entry_points_loaded = False


def register(strategy: type[Strategy]) -> type[Strategy]:
    """Class decorator: make a strategy known by its name.

    Raises:
        TypeError: it is not a strategy.
        ValueError: it does not declare what it must, or another class has its name.
    """
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        shown = getattr(strategy, "__name__", repr(strategy))
        raise TypeError(f"{shown} is not a strategy; write class {shown}(Strategy):")
    wrong = _undeclared(strategy)
    if wrong:
        raise ValueError(f"{strategy.__name__}: {wrong}")
    known = _REGISTRY.get(strategy.name)
    if known and (known.__module__, known.__qualname__) != (
        strategy.__module__,
        strategy.__qualname__,
    ):
        other = f"{known.__module__}.{known.__qualname__}"
        raise ValueError(f'two strategies are named "{strategy.name}"; the other is {other}')
    _REGISTRY[strategy.name] = strategy
    return strategy


_KEYS = ("strategy", "model", "training", "after")
"""Of an arm in the sweep file, beside its strategy's parameters."""


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
        return "parameters is not a tuple of Parameter(…); (a,) with a comma is one of one"
    names = [parameter.name for parameter in strategy.parameters]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return f'two parameters are named "{twice}"'
    if key := next((name for name in names if name in _KEYS), None):
        return f'no parameter can be named "{key}": it is a key of the sweep file'
    needs = get_args(Need)
    if isinstance(strategy.needs, str) or not set(strategy.needs) <= set(needs):
        return f"needs is not a set of {', '.join(needs)}"
    if strategy.batch_norm not in get_args(BatchNorm):
        return f'batch_norm is "{strategy.batch_norm}", not one of {", ".join(get_args(BatchNorm))}'
    kinds = {"published": TrainingOverride, "cost": Cost, "differs": str}
    wrong = (n for n, kind in kinds.items() if not isinstance(getattr(strategy, n), kind))
    return next((f"{name} is no {kinds[name].__name__}(…)" for name in wrong), None)


def _all_are(values: Any, kind: type) -> bool:
    return isinstance(values, tuple | list) and all(isinstance(value, kind) for value in values)


def registered() -> dict[str, type[Strategy]]:
    """Every known strategy by name, in alphabetical order.

    Raises:
        UserError: see `load_entry_points`.
    """
    load_entry_points()
    return dict(sorted(_REGISTRY.items()))


def strategy_named(name: str) -> type[Strategy]:
    """One strategy by its name.

    Raises:
        UserError: there is none of that name; the nearest one is named.
    """
    known = registered()
    if name not in known:
        raise user_error("strategy", f'no strategy is called "{name}"; {nearest(name, known)}')
    return known[name]


def checked_values(
    strategy: type[Strategy], given: Mapping[str, Any], layers: Sequence[str]
) -> dict[str, Any]:
    """A value for each parameter of a strategy: the given one, else its default.

    Args:
        layers: the model's, in forward order.

    Raises:
        UserError: a parameter is unknown, missing, or not accepted; all of them together.
    """
    known = {parameter.name: parameter for parameter in strategy.parameters}
    problems = [
        Problem(
            f"parameters.{name}", f"{strategy.name} has no such parameter; {nearest(name, known)}"
        )
        for name in given
        if name not in known
    ]
    values = {name: given.get(name, parameter.default) for name, parameter in known.items()}
    for name, parameter in known.items():
        if wrong := parameter.problem(values[name], layers):
            missing = values[name] is None and not parameter.optional
            said = f"is missing ({parameter.help}); {wrong}" if missing else wrong
            problems.append(Problem(f"parameters.{name}", said))
    if problems:
        raise UserError(*problems)
    return values


# --- other packages ------------------------------------------------------------------------------


def load_entry_points() -> None:
    """Load the strategies of other packages, once in a process.

    Raises:
        UserError: a package's strategies cannot be loaded, or one has a name that is taken; in one
            line that names the package.
    """
    global _entry_points_loaded
    if _entry_points_loaded:
        return
    _entry_points_loaded = True  # a module that is loaded may ask for the registry itself
    try:
        for entry in entry_points(group=GROUP):
            _load(entry)
    except UserError:
        _entry_points_loaded = False  # so that the next call raises the error again
        raise


def _load(entry: EntryPoint) -> None:
    from raysel.common.torchvision_compat import ensure_importable  # noqa: PLC0415  (slow)

    try:
        ensure_importable()  # the package may import timm
        found = entry.load()
        if not isinstance(found, ModuleType):
            register(found)
        elif not any(_is_of(strategy, found) for strategy in _REGISTRY.values()):
            raise ValueError("the module registers no strategy; write @register above the class")
    except (Exception, SystemExit) as error:
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
        what = f"its strategies cannot be loaded ({entry.name} = {entry.value})"
        cause = f"{type(error).__name__}: {first_line(error)}"
        message = f"{what}: {cause}; update or uninstall the package"
        raise user_error(f"package {package}", message) from error


def packages() -> dict[str, str]:
    """The version of each package that brings strategies, by its name."""
    found = (entry.dist for entry in entry_points(group=GROUP))
    return {package.name: package.version for package in found if package is not None}


def _is_of(strategy: type[Strategy], module: ModuleType) -> bool:
    return f"{strategy.__module__}.".startswith(f"{module.__name__}.")
