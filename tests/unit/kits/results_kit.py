"""Results of a sweep from plain dictionaries, which tests can change."""

from __future__ import annotations

from typing import Any

from raysel.report.confusions import WithConfusions
from raysel.sweep import verdict
from raysel.sweep.question import Question
from raysel.sweep.results import ConfirmedStrategy

_EMPTY = {"name": "toy", "trials": [], "confirm": [], "verdict": {}}


def typed(results: dict[str, Any]) -> WithConfusions:
    """The results as the report reads them; what is left out is empty."""
    return WithConfusions.model_validate(_EMPTY | results)


def verdict_of(confirm: list[dict[str, Any]], metric: str = "val/error") -> dict[str, Any]:
    """The verdict over confirmed strategies, as it stands in the file."""
    entries = [ConfirmedStrategy.model_validate(entry) for entry in confirm]
    ranking = [entry.strategy for entry in sorted(entries, key=lambda e: e.validation or 0.0)]
    splits = max((run.split for entry in entries for run in entry.runs), default=0) or 1
    return verdict.verdict(entries, Question(metric, ranking, splits)).model_dump()
