"""Validate what of `training` would have no effect, or cannot be had of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raysel.common.errors import Problem
from raysel.search.space import registered_strategies, settings_of, strategies_of
from raysel.spec.sweep import Choice, FloatRange, IntRange, Spec, TrainingOverride
from raysel.strategies import Strategy, registered

_NOT_COMPILED = (
    "{arm} computes gradients of other layers from step to step, each set of which would be"
    " compiled anew; give that arm training: {{compile: false}}"
)


def recipe_problems(spec: Spec, has_drop_path: Callable[[], bool]) -> list[Problem]:
    """Settings without an effect, each said once for all arms that have it.

    Args:
        has_drop_path: whether the model has branches to skip; asked where a trial skips some.
    """
    found: dict[str, Problem] = {}
    for arm, strategy in registered_strategies(spec).items():
        settings = settings_of(spec, arm)
        every = list(_arm_problems(settings, spec.model_name, has_drop_path))
        if settings["compile"] and _changes_in_steps(registered()[strategy]):
            every.append(("compile", _NOT_COMPILED.format(arm=arm)))
        for key, message in every:
            problem = Problem(_path(spec, arm, key), message)
            found.setdefault(problem.path, problem)
    return list(found.values())


def _changes_in_steps(strategy: type[Strategy]) -> bool:
    """Whether a strategy computes other gradients from step to step."""
    return strategy.needs_gradients is not Strategy.needs_gradients


def _arm_problems(
    settings: Mapping[str, Any], model: str, has_drop_path: Callable[[], bool]
) -> Iterator[tuple[str, str]]:
    """The setting, and what is wrong with it."""
    if settings.get("wise_ft") == (1.0,):
        yield "after", "1 alone takes the tuned weights as they are; leave it out"
    epochs = int(_highest(settings["epochs"]))
    if settings["patience"] is not None and _lowest(settings["patience"]) + 1 >= epochs:
        fewer = f"; give at most {epochs - 2}" if epochs > 2 else "; leave it out"
        yield "patience", f"no trial ends before its {epochs} epochs are over{fewer}"
    if settings["sampling"] == settings["class_weights"] == "balanced":
        yield "sampling", "balanced, as class_weights is: rare classes would count twice; give one"
    if _highest(settings["drop_path"]) > 0:
        if settings["batch_norm"] == "eval":
            message = "batch_norm: eval turns drop path off; give train or frozen_eval there"
            yield "drop_path", message
        elif not has_drop_path():
            yield "drop_path", f"{model} has no residual branches that timm skips; leave it out"


def _path(spec: Spec, arm: str, key: str) -> str:
    """Where the file sets it: below the arm, or for all."""
    if key == "after":
        return f"strategies.{arm}.after.alpha"
    own = strategies_of(spec)[arm].training
    if isinstance(own, TrainingOverride) and getattr(own, key) is not None:
        return f"strategies.{arm}.training.{key}"
    return f"training.{key}"


def _values(value: Any) -> tuple[Any, ...]:
    """The ends of a distribution, or its options."""
    if isinstance(value, Choice):
        return value.options
    return value.bounds if isinstance(value, FloatRange | IntRange) else (value,)


def _highest(value: Any) -> float:
    return float(max(_values(value)))


def _lowest(value: Any) -> float:
    return float(min(_values(value)))
