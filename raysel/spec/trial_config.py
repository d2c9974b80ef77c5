"""What a worker must know of one trial beside model and data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    model_serializer,
)

from raysel.spec.renamed_keys import settings_with_new_keys
from raysel.spec.training import TrainingSettings
from raysel.spec.values import FrozenModel


def _of_any_version(training: Any) -> Any:
    """Records of older versions hold a trial's settings under their names."""
    return settings_with_new_keys(training) if isinstance(training, Mapping) else training


class TrialConfig(FrozenModel):
    """One trial, every value settled: what a worker needs to know beside model and data.

    Attributes:
        strategy: the registered one.
        arm: the name below `strategies` in the sweep file; of several models with the model's.
        model: its name, in a sweep of several models; else empty.
    """

    strategy: str
    arm: str = Field(default_factory=lambda given: str(given.get("strategy", "")))
    parameters: dict[str, Any]
    training: Annotated[TrainingSettings, BeforeValidator(_of_any_version)]
    seed: Annotated[int, Strict(), Field(ge=0, le=2**53)]  # replicates and confirm runs count on
    split: Annotated[int, Strict(), Field(ge=0)] = (
        0  # of the confirm phase, from 1; 0: the search's
    )
    source_seed: Annotated[int, Strict(), Field(ge=0)] = 0  # which of the source models
    model: str = ""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is as it always was is written as before: the search's own split, an arm that is
        named like its strategy, the sweep's only model."""
        written: dict[str, Any] = handler(self)
        usual = {"split": 0, "source_seed": 0, "arm": self.strategy, "model": ""}
        return {k: v for k, v in written.items() if k not in usual or v != usual[k]}

    def label(self, searched: Iterable[str] = ()) -> str:
        """The trial in a few words: `bvg_ls lr=0.021 ema_decay=0.93`.

        Args:
            searched: names of the values to show, without the arm's scope.
        """
        training = dict(self.training)  # what is off too, which a dump leaves out
        shown = {name: self.parameters.get(name, training.get(name)) for name in searched}
        return " ".join(
            [self.arm]
            + [f"{_SHORT.get(name, name)}={_short(value)}" for name, value in shown.items()]
        )


_SHORT = {"learning_rate": "lr"}


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
