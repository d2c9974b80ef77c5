"""Validate `model.adapter`: whether its package is here, and what it does not go with.

Whether it fits the model is known with the model's layers (`raysel.models.adapters`).
"""

from __future__ import annotations

from collections.abc import Iterator

from raysel.common.errors import Problem
from raysel.models.adapter_package import why_no_adapters
from raysel.search.space import settings_of, strategies_of
from raysel.spec.sweep import Spec, TrainingOverride


def package_problems(spec: Spec) -> Iterator[Problem]:
    """That adapters cannot be made on this machine."""
    if spec.model.adapter is not None and (why := why_no_adapters()):
        yield Problem("model.adapter", why)


def adapter_problems(spec: Spec) -> Iterator[Problem]:
    """Settings that would work on A and B, where they are meant for the weights W + B A
    (docs/algorithms.md, D72)."""
    if spec.model.adapter is None:
        return
    pulled = "draws weights to where they began, and model.adapter keeps them there"
    paths: dict[str, str] = {}
    for arm, chosen in strategies_of(spec).items():
        if settings_of(spec, arm)["pull_strength"] != 0:
            own = isinstance(chosen.training, TrainingOverride) and chosen.training.pull is not None
            path = f"strategies.{arm}.training.pull" if own else "training.pull"
            paths[path] = f"{pulled}; leave it out, or give training.weight_decay"
        if chosen.after is not None:
            mixed = f"{chosen.after.kind} mixes weights, and model.adapter moves factors of them"
            paths[f"strategies.{arm}.after"] = f"{mixed}; leave one of them out"
    yield from (Problem(path, message) for path, message in paths.items())
