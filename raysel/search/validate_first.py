"""Validate where the arms of a sweep begin (`search.first`)."""

from __future__ import annotations

from collections.abc import Iterator

from raysel.common.errors import Problem
from raysel.search.layer_sets import GREEDY
from raysel.search.space import CROSS_VALIDATION, Space
from raysel.spec.sweep import RANGE_TEST, FloatRange, Spec


def first_problems(spec: Spec, space: Space) -> Iterator[Problem]:
    """A range test whose answer nobody would use, or that the file answers already."""
    if spec.search.first != RANGE_TEST:
        return
    if spec.search.sampler in ("grid", CROSS_VALIDATION, GREEDY):
        message = f"{spec.search.sampler} tries what it tries wherever it begins; leave it out, or"
        yield Problem("search.first", f"{message} take tpe, random or qmc")
        return
    tested = space.searched_rates
    if not tested:
        message = "range_test sets the first learning rate, and no arm searches one in a range;"
        yield Problem("search.first", f"{message} leave it out")
    for arm, value in tested.items():
        given = value.distribution
        if isinstance(given, FloatRange) and given.first is not None:
            message = f"{arm} has a first learning rate in the file, {given.first:g}; leave one of"
            yield Problem("search.first", f"{message} the two out")
            return
