"""The plan of a suite: the sum over its cells, which share workers, source models and one start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raysel.service.plan.estimate import Plan


@dataclass(frozen=True)
class SuiteDuration:
    """Seconds of the wall clock; low and high are bounds, as those of a sweep's are."""

    total: float
    low: float
    high: float


@dataclass(frozen=True)
class SuitePlan:
    """The estimate of a suite.

    Attributes:
        cells: name of a cell -> its plan, without what an earlier cell leaves it.
        budget: seconds after which the suite ends in order; None: when it is done.
    """

    name: str
    cells: dict[str, Plan]
    budget: float | None = None

    @property
    def trials(self) -> float:
        """Of the searches."""
        return math.fsum(plan.trials for plan in self.cells.values())

    @property
    def runs(self) -> int:
        """Of the confirm phases."""
        return sum(plan.runs for plan in self.cells.values())

    @property
    def epochs(self) -> float:
        """In expectation, of both phases."""
        return math.fsum(plan.epochs for plan in self.cells.values())

    @property
    def steps(self) -> float:
        """Optimizer steps, in expectation."""
        return math.fsum(plan.steps for plan in self.cells.values())

    @property
    def duration(self) -> SuiteDuration | None:
        """All cells one after another, with one start and one end; None where one is not known."""
        known = [plan.duration for plan in self.cells.values() if plan.duration is not None]
        if len(known) < len(self.cells):
            return None
        once = max(one.overhead for one in known)
        total, low, high = (
            once + math.fsum(getattr(one, of) - one.overhead for one in known)
            for of in ("total", "low", "high")
        )
        most = self.budget or math.inf
        return SuiteDuration(min(total, most), min(low, most), min(high, most))

    @property
    def hours(self) -> float | None:
        """GPU hours where trials have GPUs, else CPU hours; None where one is not known."""
        return _sum([plan.hours for plan in self.cells.values()])

    @property
    def cost(self) -> float | None:
        """The price of all GPU hours; None where it is not known, or trials have no GPU."""
        return _sum([plan.cost for plan in self.cells.values()])

    @property
    def disk(self) -> int:
        """Bytes of all cells' folders; each source model and best model counted for its cell."""
        return sum(plan.disk.total for plan in self.cells.values())

    @property
    def first(self) -> Plan:
        """The plan of the first cell, for what all share."""
        return next(iter(self.cells.values()))

    @property
    def notes(self) -> list[str]:
        """Of all cells, each once."""
        return list(dict.fromkeys(note for plan in self.cells.values() for note in plan.notes))

    def as_json(self) -> dict[str, Any]:
        """For a script."""
        return {
            "name": self.name,
            "trials": self.trials,
            "confirm_runs": self.runs,
            "epochs": self.epochs,
            "steps": self.steps,
            "seconds": self.duration and asdict(self.duration),
            "hours": self.hours,
            "hours_of": "gpu" if self.first.costs.gpus else "cpu",
            "cost": self.cost,
            "disk": self.disk,
            "cells": {name: plan.as_json() for name, plan in self.cells.items()},
        }


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known and len(known) == len(values) else None
