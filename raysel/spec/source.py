"""The `source` of a sweep file: how the source model is trained, from which the trials start."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raysel.spec.model import SourceWeights
from raysel.spec.task import Augmentation
from raysel.spec.training import Optimizer, Precision, Schedule, TrainingSettings
from raysel.spec.values import (
    Batch,
    Epochs,
    Fraction,
    FrozenModel,
    NonNegativeReal,
    OneLine,
    PositiveReal,
    Scalar,
)


class SourceSpec(FrozenModel):
    """How the source model is trained (`model.weights: source`); one that was trained alike on the
    same data is used again."""

    epochs: Epochs = 15
    batch_size: Batch = 64
    optimizer: Optimizer = Field(default="adamw", description="sgd is Nesterov's, momentum 0.9")
    learning_rate: PositiveReal = 2e-3
    schedule: Schedule = Field(default="cosine", description="after a warm-up of one epoch")
    weight_decay: NonNegativeReal = 1e-2
    label_smoothing: Fraction = 0.0
    precision: Precision = "float32"
    augmentation: Augmentation | None = Field(
        default=None, description="of the source part; as task.augmentation, if not given"
    )
    strategy: OneLine = Field(
        default="full", description="a registered strategy, with the paper's values"
    )
    parameters: dict[str, Scalar] = Field(
        default_factory=dict, description="of that strategy: {probe_rate: 1e4}"
    )
    weights: SourceWeights = Field(
        default="random",
        description="what the training starts from: random, pretrained (timm's), a file or"
        " {package: NAME}",
    )
    gate: Annotated[PositiveReal, Field(lt=1)] | None = Field(
        default=None,
        description="the sweep ends where the source model's validation accuracy is lower: 0.75",
    )

    @property
    def settings(self) -> TrainingSettings:
        """Its training values, as those of a trial."""
        return TrainingSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            momentum=0.9,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup_epochs=1.0,
            batch_norm="train",
            precision=self.precision,
            clip_norm=None,
            gradient_accumulation_steps=1,
            deterministic=False,
            label_smoothing=self.label_smoothing,
        )
