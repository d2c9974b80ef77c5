"""What a searched value is drawn from: how it is said, how many values it holds, which one is near.

The types themselves stand in `raysel.spec.values`.
"""

from __future__ import annotations

import math
from typing import Any

from raysel.search.layer_sets import LayerSet
from raysel.spec.values import Choice, Distribution, FloatRange, IntRange
from raysel.spec.yaml_core import in_a_line


def described(distribution: Distribution) -> str:
    """`[0.0001, 0.1] log`, `[1, 9] step 2`, `[0, 1] first 0.5`, `a | b`, `set of a | b`."""
    if isinstance(distribution, Choice):
        options = (o if isinstance(o, str) else in_a_line(o) for o in distribution.options)
        return "set of " * isinstance(distribution, LayerSet) + " | ".join(options)
    low, high = distribution.bounds
    log = " log" if distribution.log else ""
    usual = 1 if isinstance(distribution, IntRange) else None
    step = "" if distribution.step == usual else f" step {distribution.step:g}"
    first = "" if distribution.first is None else f" first {distribution.first:g}"
    return f"[{low:g}, {high:g}]{log}{step}{first}"


def count(distribution: Distribution) -> int | None:
    """How many values a distribution holds; None where they cannot be counted."""
    if isinstance(distribution, LayerSet):
        return 2 ** len(distribution.options) - 1
    if isinstance(distribution, Choice):
        return len(distribution.options)
    low, high = distribution.bounds
    if low == high:
        return 1
    if distribution.step is None:
        return None
    return _steps(distribution) + 1


def nearest_value(distribution: Distribution, value: Any) -> Any:
    """The value of the distribution nearest to `value`; for None its middle, or first option."""
    if isinstance(distribution, Choice):
        return value if value in distribution.options else distribution.options[0]
    low, high = distribution.bounds
    if value is None:
        value = math.sqrt(low * high) if distribution.log else (low + high) / 2
    value = min(max(value, low), top(distribution))
    if distribution.step is not None:
        value = low + distribution.step * round((value - low) / distribution.step)
    return int(value) if isinstance(distribution, IntRange) else float(value)


def top(distribution: FloatRange | IntRange) -> float:
    """The largest value that whole steps from the lower bound lead to."""
    low, high = distribution.bounds
    return high if distribution.step is None else low + distribution.step * _steps(distribution)


def _steps(distribution: FloatRange | IntRange) -> int:
    """How many whole steps there are from the lower to the upper bound."""
    low, high = distribution.bounds
    assert distribution.step is not None
    return math.floor((high - low) / distribution.step + 1e-9)


def settled(value: Any) -> Any:
    """A distribution of a single value is that value."""
    if isinstance(value, Distribution) and count(value) == 1:
        return nearest_value(value, None)
    return value


def largest(value: Any) -> int:
    """The largest whole number that a constant or a distribution may give."""
    if isinstance(value, Choice):
        return max(int(option) for option in value.options)
    return int(top(value)) if isinstance(value, IntRange) else int(value)
