"""Sweeps to compare: made-up ones, each with its file."""

from __future__ import annotations

from typing import Any

from results_kit import typed

from raysel.report.compared import Compared
from raysel.spec.reader import parse

FILE = """
name: digits
task: {data: digits, shift: {kind: gaussian_noise}, split: {validation: 200, test: 400}}
model: {name: resnet10t}
strategies: {full: }
"""


def compared(results: dict[str, Any], name: str, *changes: str) -> Compared:
    """A sweep under a name of its own, with what its file says otherwise."""
    return Compared(name, typed(results), parse(FILE, [f"name={name}", *changes]))
