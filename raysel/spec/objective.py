"""What the search makes small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from raysel.spec.values import FrozenModel

Metric = Literal[
    "val/error", "val/loss", "val/balanced_error", "val/top5_error", "val/worst_group_error"
]

WORST_GROUP = "val/worst_group_error"
"""The metric that needs groups (`task.data.group_column`)."""

SECONDS = "cost/seconds"
"""Seconds of training and validation."""

SOURCE_ERROR = "val/source_error"
"""Error on the source's validation examples: what is forgotten raises it."""

UPDATED = "cost/updated_params"
"""Parameters that an optimizer step moves, mean over the steps."""

Secondary = Literal[
    "val/error",
    "val/loss",
    "val/balanced_error",
    "val/top5_error",
    "val/worst_group_error",
    "val/source_error",
    "cost/seconds",
    "cost/updated_params",
]

SEVERAL = (
    "give {metric: val/error, secondary: [cost/seconds]}: by the metric an epoch is the best and a"
    " strategy wins, the secondary ones are made small beside it"
)


class ObjectiveSpec(FrozenModel):
    """What the search makes small; all but the cost is measured on the validation split."""

    metric: Metric = Field(
        default="val/error",
        description="by it an epoch is the best, patience ends a trial and a strategy wins",
    )
    secondary: Annotated[tuple[Secondary, ...], Field(max_length=2)] = Field(
        default=(),
        description="what is made small beside the metric: [cost/seconds]. The search then looks"
        " for the configurations that no other one dominates (the Pareto front)",
    )

    @model_validator(mode="before")
    @classmethod
    def _not_a_list(cls, given: Any) -> Any:
        listed = given.get("metric") if isinstance(given, Mapping) else given
        if isinstance(listed, list | tuple):
            raise ValueError(SEVERAL)
        return given

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """One objective is written as it was before there were several."""
        written: dict[str, Any] = handler(self)
        return {name: value for name, value in written.items() if value or name == "metric"}

    @property
    def metrics(self) -> tuple[str, ...]:
        """All of them, the one that decides first."""
        return (self.metric, *self.secondary)

    @property
    def is_multiple(self) -> bool:
        """Whether there are several."""
        return bool(self.secondary)


_OBJECTIVES = {
    "val/error": "validation error",
    "val/loss": "validation loss",
    "val/balanced_error": "balanced validation error",
    "val/top5_error": "top-5 validation error",
    WORST_GROUP: "worst-group validation error",
    SOURCE_ERROR: "source validation error",
    SECONDS: "seconds a trial",
    UPDATED: "parameters moved a step",
}


def objective_in_words(metric: str) -> str:
    """An objective's metric as a person says it: `validation error`."""
    return _OBJECTIVES.get(metric, metric)
