"""One YAML file is one sweep: the file as frozen types.

This module knows types only. `raysel.spec.reader` reads the file; whether a strategy, a model
or a layer exists is asked in `raysel.search.validate`; what a distribution means for the search is
said in `raysel.search.space`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from raysel.common import tracking_uri
from raysel.common.locations import is_bucket
from raysel.common.paths import A_SWEEP, plain, storage_problem
from raysel.spec import yaml_core
from raysel.spec.confirm import FEWEST_SPLITS as FEWEST_SPLITS
from raysel.spec.confirm import MOST_SPLITS as MOST_SPLITS
from raysel.spec.confirm import SMALLEST_EFFECT as SMALLEST_EFFECT
from raysel.spec.confirm import ConfirmSpec as ConfirmSpec
from raysel.spec.confirm import VerdictSpec as VerdictSpec
from raysel.spec.model import AUTO as AUTO  # a part of the file's grammar
from raysel.spec.model import ModelChoice as ModelChoice
from raysel.spec.model import ModelSpec as ModelSpec
from raysel.spec.model import Partition as Partition
from raysel.spec.node_labels import check_custom, check_labels
from raysel.spec.objective import ObjectiveSpec as ObjectiveSpec
from raysel.spec.objective import objective_in_words as objective_in_words
from raysel.spec.source import SourceSpec as SourceSpec
from raysel.spec.strategy import StrategySpec as StrategySpec
from raysel.spec.task import ShiftSpec as ShiftSpec  # a part of the file's grammar
from raysel.spec.task import SplitSpec as SplitSpec
from raysel.spec.task import TaskSpec as TaskSpec
from raysel.spec.training import AfterSpec as AfterSpec
from raysel.spec.training import TrainingOverride as TrainingOverride
from raysel.spec.training import TrainingSettings as TrainingSettings
from raysel.spec.training import TrainingSpec as TrainingSpec
from raysel.spec.values import (
    A_FILE,
    A_VALUE,
    Epochs,
    FrozenModel,
    LocalPath,
    NonNegativeReal,
    OneLine,
    PositiveReal,
    PositiveWhole,
    Seed,
    StrictBool,
    StrictInt,
)
from raysel.spec.values import SEARCH as SEARCH
from raysel.spec.values import Choice as Choice  # a part of the file's grammar
from raysel.spec.values import Distribution as Distribution
from raysel.spec.values import FloatRange as FloatRange
from raysel.spec.values import IntRange as IntRange

RANGE_TEST = "range_test"
"""`search.first`: where a learning-rate range test says."""

EQUAL_COST = "equal_cost"
"""`search.allocation`: as much computation for each of several models."""

RANGE_STEPS = 100
"""Optimizer steps of such a test, at most."""


def _storage(text: str) -> str:
    if wrong := storage_problem(text):
        raise ValueError(wrong)
    return text if is_bucket(text) else plain(text)


SweepAddress = Annotated[str, AfterValidator(_storage)]
"""A sweep's folder, its name in the storage, or `s3://bucket/folder/NAME`."""


class SearchSpec(FrozenModel):
    """How the next trial is chosen."""

    sampler: Literal["tpe", "random", "qmc", "nsga2", "grid", "cross_validation", "greedy"] = Field(
        default="tpe",
        description="nsga2 is for several objectives, which tpe, random, qmc and grid take too;"
        " grid walks every point of a space without real numbers; cross_validation is the grid in"
        " which surgical takes every single layer in turn; greedy grows the set of layers of"
        " surgical or blockwise by one layer a round, until none lowers the validation error by"
        " more than its standard error",
    )
    num_trials: Annotated[StrictInt, Field(gt=0, le=100_000)] = 40
    allocation: Literal["adaptive", "equal", "equal_cost"] = Field(
        default="equal",
        description="equal (the default): each strategy gets as many trials, for a fair"
        " comparison; equal_cost (of several models the default): each model gets as much"
        " computation, so that the arms of a small one have more trials; adaptive: the sampler"
        " tries good strategies more, for the best model. A"
        " sampler that walks every point (grid, cross_validation) takes adaptive alone",
    )
    first: Literal["published", "range_test"] = Field(
        default="published",
        exclude_if=lambda first: first == "published",  # written as it was before there was one
        description="where each arm begins: published, with its paper's values or the file's first;"
        " range_test, at the learning rate that a range test of each arm suggests, which runs"
        " before the search",
    )
    seed: Seed = 0
    run_single_configurations: StrictBool = Field(
        default=False,
        description="an arm that searches nothing goes straight to the confirm phase; true: it has"
        " trials of the search too, for their curves and for the choice of the winner",
    )
    baselines: StrictBool = Field(
        default=True, description="full and linear_probe are added where the file omits them"
    )
    prior: Annotated[tuple[SweepAddress, ...], Field(max_length=20)] = Field(
        default=(),
        exclude_if=lambda addresses: not addresses,
        description="earlier sweeps, by folder, by name in the storage or as s3://…/NAME: their"
        " best configurations come after the published ones, and tpe is given their trials",
    )
    prior_weight: Annotated[NonNegativeReal, Field(le=10)] = Field(
        default=1.0,
        exclude_if=lambda weight: weight == 1.0,
        description="how many trials of earlier sweeps tpe is given, as a share of those that each"
        " strategy has here; 0: their best configurations alone",
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_share(cls, given: Any) -> Any:
        """A sampler that walks every point has no shares: left out, `allocation` is adaptive."""
        if isinstance(given, dict) and given.get("sampler") in ("grid", "cross_validation"):
            return {"allocation": "adaptive"} | given
        return given


class PrunerSpec(FrozenModel):
    """Which hopeless trials end early: Optuna's pruners."""

    kind: Literal["asha", "hyperband", "median", "none"] = "asha"
    grace_epochs: Epochs = 3
    reduction_factor: Annotated[StrictInt, Field(ge=2, le=1000)] = 2
    compare: Literal["all", "within_strategy"] = Field(
        default="within_strategy",
        description="the trials that a trial is compared with: within_strategy: those of its own"
        " strategy, so that none is pruned for starting slowly; all: every trial of the sweep",
    )


class BudgetSpec(FrozenModel):
    """When a sweep ends in order before its trials are done; counted over all attempts."""

    seconds: Annotated[PositiveReal, Field(le=3.6e9)] | None = None
    hours: Annotated[PositiveReal, Field(le=1e6)] | None = None

    @property
    def total(self) -> float | None:
        """In seconds; the smaller where both are given, None where neither is."""
        given = [self.seconds, self.hours and 3600 * self.hours]
        return min((value for value in given if value), default=None)

    @property
    def unit(self) -> Literal["seconds", "hours"]:
        """The key that says how long."""
        return "hours" if self.total != self.seconds else "seconds"


def _one_gpu(gpus: float) -> float:
    if gpus > 1:
        raise ValueError("a trial uses one GPU; give 1, or a share of one")
    return gpus


class ResourcesSpec(FrozenModel):
    """What one trial gets."""

    cpus: Annotated[StrictInt, Field(gt=0, le=100_000)] = 1
    gpus: Annotated[NonNegativeReal, AfterValidator(_one_gpu)] = Field(
        default=0,
        description="0, 1, or a share of one (0.5): two trials then share a GPU, each with half of"
        " its memory",
    )
    custom: Annotated[
        dict[OneLine, Annotated[PositiveReal, Field(le=1e9)]], AfterValidator(check_custom)
    ] = Field(default_factory=dict, description="Ray's custom resources: {fast_disk: 1}")
    labels: Annotated[dict[OneLine, OneLine], AfterValidator(check_labels)] = Field(
        default_factory=dict,
        description="of the nodes that trials may run on, as Ray's label selectors:"
        " {ray.io/accelerator-type: H100}",
    )
    max_concurrent_trials: Annotated[StrictInt, Field(gt=0, le=100_000)] | None = Field(
        default=None,
        description="as many as fit where nothing is given, and on KubeRay, which reports no sizes,"
        " eight more, for which its autoscaler starts pods",
    )


Diagnostic = Literal["bias_variance_ratio", "relative_gradient_norm", "parameter_change"]


class TraceSpec(FrozenModel):
    """How much of the selection trace is kept."""

    every_n_steps: PositiveWhole = Field(
        default=1, description="every this many steps a row a layer"
    )
    diagnostics: tuple[Diagnostic, ...] = Field(
        default=(), description="what else is measured of every layer, whatever the strategy"
    )


class TrackingSpec(FrozenModel):
    """Where MLflow keeps its record."""

    uri: Annotated[str, AfterValidator(tracking_uri.validate_tracking_uri)] | None = Field(
        default=None, description="sqlite beside the runs, if nothing is given; no password in it"
    )
    experiment: Annotated[OneLine, Field(min_length=1, max_length=250)] | None = Field(
        default=None, description="the sweep's or the suite's name, if not given"
    )


class CodeFile(FrozenModel):
    """A Python file of the user's own, and what it must hold."""

    path: LocalPath = Field(description="relative to the sweep file")
    sha256: str | None = Field(default=None, description="of its content, as it was first run")


Code = Annotated[
    Annotated[LocalPath, Tag(A_VALUE)] | Annotated[CodeFile, Tag(A_FILE)],
    Discriminator(lambda value: A_FILE if isinstance(value, Mapping | BaseModel) else A_VALUE),
]


class Spec(FrozenModel):
    """A sweep file."""

    name: Annotated[str, Field(pattern=A_SWEEP.pattern)] = Field(
        description="names the folder and the MLflow experiment"
    )
    description: Annotated[str, Field(max_length=10_000)] = ""
    task: TaskSpec
    model: ModelSpec
    strategies: dict[str, StrategySpec] = Field(min_length=1)
    training: TrainingSpec = TrainingSpec()
    source: SourceSpec = SourceSpec()
    search: SearchSpec = SearchSpec()
    pruner: PrunerSpec = PrunerSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    confirm: ConfirmSpec = ConfirmSpec()
    verdict: VerdictSpec = VerdictSpec()
    resources: ResourcesSpec = ResourcesSpec()
    budget: BudgetSpec = BudgetSpec()
    trace: TraceSpec = TraceSpec()
    tracking: TrackingSpec = TrackingSpec()
    storage: Annotated[str, AfterValidator(_storage)] = Field(
        default="runs", description="the folder that holds the sweeps, or s3://… or gs://…"
    )
    database_url: str | None = Field(
        default=None, description="postgresql://… ; a SQLite file in the folder, if not given"
    )
    code_files: tuple[Code, ...] = Field(
        default=(), description="Python files with strategies or models of your own"
    )

    @model_validator(mode="after")
    def _settle_weights(self) -> Spec:
        """Every later reader sees what is meant; `model_fields_set` still has what was given."""
        if self.model.weights == AUTO:
            settled = dict(self.model) | {"weights": self.task.default_weights}
            given = self.model.model_fields_set - {"weights"}
            self.__dict__["model"] = ModelSpec.model_construct(_fields_set=given, **settled)
        return self

    @model_validator(mode="after")
    def _settle_configurations(self) -> Spec:
        """What the search was asked for is confirmed: with several objectives the front."""
        if self.objective.is_multiple and "configurations" not in self.confirm.model_fields_set:
            settled = dict(self.confirm) | {"configurations": "front"}
            given = self.confirm.model_fields_set
            self.__dict__["confirm"] = ConfirmSpec.model_construct(_fields_set=given, **settled)
        return self

    @model_validator(mode="after")
    def _settle_allocation(self) -> Spec:
        """Of several models effort is counted by cost, but where whole rounds are."""
        given = "allocation" in self.search.model_fields_set
        if len(self.model.names) > 1 and not given and self.search.sampler != "greedy":
            settled = dict(self.search) | {"allocation": EQUAL_COST}
            fields = self.search.model_fields_set
            self.__dict__["search"] = SearchSpec.model_construct(_fields_set=fields, **settled)
        return self

    @property
    def model_name(self) -> str:
        """The model's name, where there is one.

        Raises:
            ValueError: there are several; `raysel.search.arms.of_model` has the sweep of one.
        """
        if len(self.model.names) > 1:
            raise ValueError(f"{self.name} has several models: {self.model.name}")
        return self.model.names[0]

    @property
    def experiment(self) -> str:
        """MLflow's experiment: the one that the file names, the sweep's, or of a cell the suite's
        name."""
        return self.tracking.experiment or self.name.partition("/")[0]

    @property
    def without_adapter(self) -> Spec:
        """The same with the model as a source model is: without adapters."""
        return self.model_copy(update={"model": self.model.model_copy(update={"adapter": None})})

    @property
    def listed_code(self) -> tuple[CodeFile, ...]:
        """The files of `code_files`, each as an object."""
        return tuple(CodeFile(path=c) if isinstance(c, str) else c for c in self.code_files)

    def to_yaml(self) -> str:
        """The resolved file, every default written out; `parse` reads it back unchanged."""
        return yaml_core.write(self.model_dump(mode="json", by_alias=True))
