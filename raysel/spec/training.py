"""The `training` of a sweep file: how every trial trains, and how one settled trial does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

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
    StrictFloat,
    distinct,
)

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "cosine"]
BatchNorm = Literal["train", "eval", "frozen_eval"]
Precision = Literal["float32", "tf32", "bfloat16"]
CacheFeatures = Literal["auto", "off"]
ClassWeights = Literal["none", "balanced"]
Sampling = Literal["uniform", "balanced"]

_WITHOUT_RECIPE: dict[str, tuple[Any, ...]] = {
    "label_smoothing": (0.0,),
    "mixup": (0.0,),
    "cutmix": (0.0,),
    "class_weights": ("none",),
    "sampling": ("uniform",),
    "drop_path": (0.0,),
    "weight_averaging": (0.0,),
    "patience": (None,),
    "pull_strength": (0.0,),
    "wise_ft": ((), []),  # in Python, in JSON
    "compile": (False,),
}


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Share = Annotated[StrictFloat, Field(gt=0, le=1)]

ALPHAS = tuple(n / 10 for n in range(1, 11))
"""Shares of the tuned weights among which validation chooses, where the file gives none."""


class PullSpec(FrozenModel):
    """What draws the weights to where they began, beside the loss."""

    kind: Literal["l2_sp"] = Field(
        default="l2_sp", description="strength / 2 times the squared distance, in the loss"
    )
    strength: SearchableReal[NonNegativeReal] = Field(description="0.01, say; 0 is off")


class AfterSpec(FrozenModel):
    """What is made of an arm's weights before they are validated, tested and exported."""

    kind: Literal["wise_ft"] = Field(
        description="wise_ft: (1 - alpha) times the weights that it began with plus alpha times"
        " the tuned ones"
    )
    alpha: Annotated[
        tuple[Share, ...],
        BeforeValidator(_listed, json_schema_input_type=Share | tuple[Share, ...]),
        AfterValidator(distinct),
    ] = Field(
        default=ALPHAS,
        description="a number, or a list from which each validation chooses; 0.1, 0.2 … 1",
    )


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
    label_smoothing: Fraction = 0.0
    mixup: NonNegativeReal = 0.0
    cutmix: NonNegativeReal = 0.0
    class_weights: ClassWeights = "none"
    sampling: Sampling = "uniform"
    drop_path: Fraction = 0.0
    weight_averaging: Fraction = 0.0
    patience: Epochs | None = None
    pull_strength: NonNegativeReal = 0.0
    wise_ft: tuple[Share, ...] = ()
    compile: StrictBool = False

    def is_last(self, epoch: int, best_epoch: int) -> bool:
        """Whether a trial ends with an epoch.

        Args:
            epoch: from 1.
            best_epoch: the one of the lowest objective until then, the first of equals.
        """
        waited = self.patience is not None and epoch - best_epoch >= self.patience
        return waited or epoch >= self.epochs

    @property
    def mixes(self) -> bool:
        """Whether examples are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is as it always was is written as before: a record of an older version goes on."""
        written: dict[str, Any] = handler(self)
        return {
            key: value
            for key, value in written.items()
            if key not in _WITHOUT_RECIPE or value not in _WITHOUT_RECIPE[key]
        }


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
    label_smoothing: SearchableReal[Fraction] = Field(
        default=0.0, description="the share of each target that is spread over all classes: 0.1"
    )
    mixup: SearchableReal[NonNegativeReal] = Field(
        default=0.0, description="timm's mixup_alpha: 0.2 mixes pairs of pictures; 0 is off"
    )
    cutmix: SearchableReal[NonNegativeReal] = Field(
        default=0.0, description="timm's cutmix_alpha: 1.0; with mixup one of both a batch"
    )
    class_weights: Searchable[ClassWeights] = Field(
        default="none",
        description="balanced: rare classes weigh more in the loss, n / (classes n_c)",
    )
    sampling: Searchable[Sampling] = Field(
        default="uniform",
        description="balanced: an epoch draws as many examples as there are, with replacement,"
        " each class as often",
    )
    drop_path: SearchableReal[Fraction] = Field(
        default=0.0,
        description="timm's drop_path_rate: 0.1 skips a tenth of the last block's residual"
        " branches, fewer below",
    )
    weight_averaging: SearchableReal[Fraction] = Field(
        default=0.0,
        description="decay of timm's ModelEmaV3, with its warm-up: 0.99 averages the weights of"
        " about 100 steps, and the average is validated, tested and exported; 0 is off",
    )
    patience: SearchableWhole[Epochs] | None = Field(
        default=None,
        description="a trial ends after so many epochs without a lower objective; after its last"
        " epoch, if nothing is given",
    )
    pull: PullSpec | None = Field(
        default=None, description="{kind: l2_sp, strength: 0.01} draws to the starting weights"
    )
    cache_features: CacheFeatures = Field(
        default="auto",
        description="what layers that never move give for each example is computed once a node,"
        " where it is the same in every epoch; off: in every epoch",
    )
    compile: StrictBool = Field(
        default=False,
        description="forward and backward pass through torch.compile, for long trials: each trial"
        " compiles first; needs a C++ compiler, on a GPU Triton too",
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
    label_smoothing: SearchableReal[Fraction] | None = None
    mixup: SearchableReal[NonNegativeReal] | None = None
    cutmix: SearchableReal[NonNegativeReal] | None = None
    class_weights: Searchable[ClassWeights] | None = None
    sampling: Searchable[Sampling] | None = None
    drop_path: SearchableReal[Fraction] | None = None
    weight_averaging: SearchableReal[Fraction] | None = None
    patience: SearchableWhole[Epochs] | None = None
    pull: PullSpec | None = None
    compile: StrictBool | None = None
