"""Few cases in `make test`, all of them in `make test-all`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest

WIDE = os.environ.get("RAYSEL_WIDE") == "1"
"""Whether `make test-all` runs: what draws its cases at random draws many."""


def few(first: Any, *others: Any) -> list[Any]:
    """Parameters of a test: the first as it is, the others marked slow."""
    return [first, *slow(others)]


def several(number: int, cases: Iterable[Any]) -> list[Any]:
    """Parameters of a test: so many as they are, the others marked slow."""
    found = list(cases)
    return [*found[:number], *slow(found[number:])]


def crossed(one: Iterable[Any], other: Iterable[Any]) -> list[Any]:
    """Parameters of a test, pairs: each value once, and every other pair marked slow."""
    ones, others = list(one), list(other)
    most = max(len(ones), len(others))
    each = [(ones[place % len(ones)], others[place % len(others)]) for place in range(most)]
    return [*each, *slow(pair for pair in product(ones, others) if pair not in each)]


def slow(cases: Iterable[Any]) -> list[Any]:
    """Parameters of a test, marked slow; a tuple is several values."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in cases
    ]


def count(quick: int, wide: int) -> int:
    """How many random cases are drawn."""
    return wide if WIDE else quick
