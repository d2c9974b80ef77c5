"""Validate `search.prior`, as far as it can be known without a look at earlier sweeps."""

from __future__ import annotations

from collections.abc import Iterator

from raysel.common.errors import Problem
from raysel.spec.sweep import Spec

SAMPLERS = ("tpe", "random", "qmc")
"""Those that can begin with configurations of earlier sweeps; tpe learns from their trials too."""


def prior_problems(spec: Spec) -> Iterator[Problem]:
    """A sampler or objectives that cannot use earlier sweeps, one that is listed twice, a weight of
    nothing."""
    search = spec.search
    if not search.prior:
        if "prior_weight" in search.model_fields_set:
            message = "weighs the trials of earlier sweeps, and there are none; name some in"
            yield Problem("search.prior_weight", f"{message} search.prior, or leave it out")
        return
    for index, address in enumerate(search.prior):
        if address in search.prior[:index]:
            yield Problem(f"search.prior.{index}", f'"{address}" is listed twice')
    if spec.objective.is_multiple:
        message = "ranks earlier trials by one objective, and there are"
        metrics = ", ".join(spec.objective.metrics)
        yield Problem("search.prior", f"{message} {len(spec.objective.metrics)} ({metrics})")
    elif search.sampler not in SAMPLERS:
        message = f"{search.sampler} has its own order of configurations and learns from no trial"
        yield Problem("search.prior", f"{message} of another sweep; give tpe, random or qmc")
