"""What the search makes small."""

from __future__ import annotations

from typing import Literal

from raysel.spec.values import FrozenModel

Metric = Literal[
    "val/error", "val/loss", "val/balanced_error", "val/top5_error", "val/worst_group_error"
]

WORST_GROUP = "val/worst_group_error"
"""The metric that needs groups (`task.data.group_column`)."""


class ObjectiveSpec(FrozenModel):
    """What the search makes small; always measured on the validation split."""

    metric: Metric = "val/error"


_OBJECTIVES = {
    "val/error": "validation error",
    "val/loss": "validation loss",
    "val/balanced_error": "balanced validation error",
    "val/top5_error": "top-5 validation error",
    WORST_GROUP: "worst-group validation error",
}


def objective_in_words(metric: str) -> str:
    """An objective's metric as a person says it: `validation error`."""
    return _OBJECTIVES.get(metric, metric)
