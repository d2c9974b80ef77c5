"""The `training` of a sweep file: how every trial trains, and how one settled trial does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raysel.spec.values import (
    Batch,
    Epochs,
    FloatRange,
    Fraction,
    FrozenModel,
    NonNegativeReal,
    PositiveReal,
    PositiveWhole,
    Searchable,
    SearchableReal,
    SearchableWhole,
    StrictBool,
)

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "cosine"]
BatchNorm = Literal["train", "eval", "frozen_eval"]
Precision = Literal["float32", "tf32", "bfloat16"]
CacheFeatures = Literal["auto", "off"]


class TrainingSettings(FrozenModel):
    """How one trial trains: every value settled."""

    epochs: Epochs
    batch_size: Batch
    optimizer: Optimizer
    learning_rate: PositiveReal
    momentum: Fraction
    weight_decay: NonNegativeReal
    schedule: Schedule
    warmup_epochs: NonNegativeReal
    batch_norm: BatchNorm
    precision: Precision
    clip_norm: PositiveReal | None
    gradient_accumulation_steps: Batch
    deterministic: StrictBool
    shots: PositiveWhole | None = None


class TrainingSpec(FrozenModel):
    """How every trial trains: each value a constant or a distribution."""

    epochs: SearchableWhole[Epochs] = 15
    batch_size: SearchableWhole[Batch] = 32
    optimizer: Searchable[Optimizer] = Field(default="sgd", description="sgd is Nesterov's")
    learning_rate: SearchableReal[PositiveReal] = FloatRange.model_validate(
        {"float": (1e-4, 1e-1), "log": True}
    )
    momentum: SearchableReal[Fraction] = 0.9
    weight_decay: SearchableReal[NonNegativeReal] = 0.0
    schedule: Searchable[Schedule] = "constant"
    warmup_epochs: SearchableReal[NonNegativeReal] = 0.0
    batch_norm: Literal["train", "eval", "frozen_eval", "published"] = Field(
        default="train",
        description="one mode for every strategy compared; published: each paper's own",
    )
    precision: Precision = Field(
        default="float32",
        description="tf32: a GPU rounds what it multiplies to 10 bits of mantissa; bfloat16:"
        " autocast, weights and optimizer stay float32",
    )
    clip_norm: SearchableReal[PositiveReal] | None = None
    gradient_accumulation_steps: Batch = 1
    deterministic: StrictBool = False
    shots: SearchableWhole[PositiveWhole] | None = Field(
        default=None,
        description="train on so many examples of each class: the same for every trial, the"
        " fewer among the more; on the whole training part, if nothing is given",
    )
    cache_features: CacheFeatures = Field(
        default="auto",
        description="what layers that never move give for each example is computed once a node,"
        " where it is the same in every epoch; off: in every epoch",
    )


class TrainingOverride(FrozenModel):
    """`strategies.<name>.training`: what is here replaces the common `training`."""

    epochs: SearchableWhole[Epochs] | None = None
    batch_size: SearchableWhole[Batch] | None = None
    optimizer: Searchable[Optimizer] | None = None
    learning_rate: SearchableReal[PositiveReal] | None = None
    momentum: SearchableReal[Fraction] | None = None
    weight_decay: SearchableReal[NonNegativeReal] | None = None
    schedule: Searchable[Schedule] | None = None
    warmup_epochs: SearchableReal[NonNegativeReal] | None = None
    batch_norm: BatchNorm | None = None
    precision: Precision | None = None
    clip_norm: SearchableReal[PositiveReal] | None = None
    gradient_accumulation_steps: Batch | None = None
    shots: SearchableWhole[PositiveWhole] | None = None
