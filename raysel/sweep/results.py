"""`results.json` as frozen types, which its writer and all its readers share.

Keys that a file lacks have defaults (but for those that every version wrote) and keys that are not
known are skipped, so that the file of another version can be read. The tables, the figures and the
report are drawn from it alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Number = Annotated[float | None, AfterValidator(_finite)]
"""A number that may be missing; one that is not finite is missing too."""

Epoch = Mapping[str, int | float | None]
"""The metrics of an epoch by name, and `epoch` itself, from 1."""


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, serialize_by_alias=True
    )


class Objective(_Part):
    """What the sweep made small."""

    metric: str = "val/error"
    mode: str = Field(default="min", description="always min: the smaller the better")


class SourceFacts(_Part):
    """The source model: its validation accuracy (0..1), and what its training took."""

    validation_accuracy: Number = None
    seconds: Number = None


class TrialResult(_Part):
    """One trial of the search.

    Attributes:
        status: COMPLETE, PRUNED, FAILED or INTERRUPTED.
        cause: why it ended early.
        config: a `TrialConfig` as a dictionary.
        searched: the values that the search chose, by name.
        value: its objective; None where it has none.
        best_epoch: the first one with the lowest objective.
        epochs: the metrics of each epoch.
    """

    id: str = ""
    number: int = -1
    strategy: str = ""
    label: str = ""
    status: str = ""
    cause: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    searched: dict[str, Any] = Field(default_factory=dict)
    value: Number = None
    best_epoch: int | None = None
    seconds: Number = None
    epochs: tuple[dict[str, int | float | None], ...] = ()

    @property
    def training(self) -> Mapping[str, Any]:
        """The training values of its configuration."""
        return self.config.get("training") or {}

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The strategy's parameters in its configuration."""
        return self.config.get("parameters") or {}

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """(epoch, value) of a metric, where it is a finite number."""
        values = ((int(row["epoch"] or 0), _finite(row.get(metric))) for row in self.epochs)
        return [(epoch, value) for epoch, value in values if value is not None]

    def at_best(self, metric: str) -> float | None:
        """A metric at the best epoch."""
        return dict(self.curve(metric)).get(self.best_epoch or 0)


class TestedEpoch(_Part):
    """The test metrics of one epoch of a confirm run (`confirm.test_every_epoch`)."""

    epoch: int = 0
    error: Number = None
    loss: Number = None


def _metric(name: str, **changes: Any) -> Any:
    return Field(default=None, alias=name, **changes)


def _is_none(value: object) -> bool:
    return value is None


class ConfirmRun(_Part):
    """One confirm run: a strategy's best configuration with another seed.

    Attributes:
        split: number of its split of the data, from 1; 0 is the search's own.
        source_seed: which of the source models it began with.
        epoch: the one whose weights were tested.
        val_balanced_error, val_top5_error: only where the sweep optimised that.
        moved: layer -> how much it moved, as `ConfirmedStrategy.moved_is` says.
        updated_share: of the parameters that moved at least once.
        test_curve: only where every epoch was tested.
    """

    id: str = ""
    seed: int = 0
    split: int = 0
    source_seed: int = 0
    epoch: int = 0
    val_balanced_error: Number = _metric("val/balanced_error", exclude_if=_is_none)
    val_top5_error: Number = _metric("val/top5_error", exclude_if=_is_none)
    val_error: Number = _metric("val/error")
    val_loss: Number = _metric("val/loss")
    test_error: Number = _metric("test/error")
    test_loss: Number = _metric("test/loss")
    test_balanced_error: Number = _metric("test/balanced_error")
    test_top5_error: Number = _metric("test/top5_error")
    seconds: Number = None
    moved: dict[str, float] = Field(default_factory=dict)
    updated_share: Number = None
    test_curve: tuple[TestedEpoch, ...] = Field(default=(), exclude_if=lambda curve: not curve)

    def metric(self, name: str) -> float | None:
        """A metric by its name in the file, `val/error`."""
        value: float | None = getattr(self, name.replace("/", "_"), None)
        return value


class Interval(_Part):
    """A mean over runs with its 95 % interval (Student's t), which one run does not have."""

    mean: Number = None
    low: Number = None
    high: Number = None
    n: int = 0


class ConfirmedStrategy(_Part):
    """A strategy's confirm runs.

    Attributes:
        trial: id of the trial of the search whose configuration they repeat.
        validation: the objective, mean over the runs.
        moved: layer -> mean over the runs.
        moved_is: `share of steps`, or `weight` of a layer's learning rate.
    """

    strategy: str = ""
    trial: str | None = None
    label: str = ""
    runs: tuple[ConfirmRun, ...] = ()
    validation: Number = None
    validation_error: Number = None
    test_error: Interval = Interval()
    moved: dict[str, float] = Field(default_factory=dict)
    moved_is: str = "share of steps"
    updated_share: Number = None
    seconds: Number = None

    @property
    def weighs_rates(self) -> bool:
        """Whether `moved` is a mean weight and not a share of steps."""
        return self.moved_is == "weight"

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> a metric of its run, where it has one."""
        values = {run.seed: run.metric(metric) for run in self.runs}
        return {seed: value for seed, value in values.items() if value is not None}


Outcome = Literal[
    "better",
    "worse",
    "no_relevant_difference",
    "not_shown",
    "unequal_effort",
    "one_split",
    "one_run",
    "no_runs",
]
"""Of one comparison, seen from its first strategy."""


class Comparison(_Part):
    """One strategy against another, by test error.

    Attributes:
        difference: first minus second, 0..1, mean over the units; negative is better.
        low, high: its interval at `level`; None without a spread.
        level: 1 minus the interval's confidence.
        p: two-sided, of this comparison alone; `p_holm`: corrected for those beside it.
        units: paired splits (training seeds where there is one split).
        examples: test examples that the interval counts as a second source of variation; 0
            where they are not known one by one.
        detectable: difference that as many units would show with a probability of 80 %.
        units_needed: units in all that would show a difference of this size among those beside
            it (Bonferroni); None where no number would.
    """

    ours: str = ""
    theirs: str = ""
    outcome: Outcome = "no_runs"
    difference: Number = None
    low: Number = None
    high: Number = None
    level: float = 0.05
    p: Number = None
    p_holm: Number = None
    units: int = 0
    examples: int = 0
    detectable: Number = None
    units_needed: int | None = None


class Verdict(_Part):
    """What the confirm runs say.

    Attributes:
        winner: the strategy that the search chose, by validation on its own split; None where
            nothing was confirmed.
        against: what it is compared with; None where there is no comparison.
        measure: the test metric that is compared, `test/error`.
        difference, low, high, n: of the first contrast where the file names some, else of the
            winner minus `full`; n is the number of paired splits (of training seeds where there
            is one split).
        outcome: of the same, as of a `Comparison`; or `winner_is_full`, `no_baseline` (`full` has
            no run beside the winner's), `no_result`. Of older sweeps also `not_proven` and
            `one_seed`.
        sentence: all of it in words.
        lowest: the strategy with the lowest mean test error of the confirm runs.
        level, smallest_effect, splits: what was asked.
        contrasts: those of the file, with Holm's correction over them.
        against_baseline: every strategy against `full`, with Holm's correction.
    """

    winner: str | None = None
    against: str | None = None
    measure: str = "test/error"
    difference: Number = None
    low: Number = None
    high: Number = None
    n: int = 0
    outcome: str = "no_result"
    sentence: str = ""
    lowest: str | None = None
    level: float = 0.05
    smallest_effect: float = 0.01
    splits: int = 1
    contrasts: tuple[Comparison, ...] = ()
    against_baseline: tuple[Comparison, ...] = ()

    def __str__(self) -> str:
        return self.sentence


class Improvement(_Part):
    """How often a run of the first strategy has a smaller test error than one of the second, with
    a bootstrap's 95 % interval."""

    ours: str = ""
    theirs: str = ""
    probability: Number = None
    low: Number = None
    high: Number = None


class EffortCurve(_Part):
    """Best validation value after 1, 2, … trials; see `statistics.best_of_n.Effort`."""

    estimator: Literal["expected", "best_so_far"] = "best_so_far"
    best: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class StrategyEffort(_Part):
    """The tuning that a strategy's configuration rests on.

    Attributes:
        trials: trials of the search that ended.
        complete, pruned, failed: of them.
        replicates: trials that repeated a configuration with another training seed.
        epochs: trained in all of them.
        from_pruned: whether its configuration comes from a pruned trial.
        at_edge: searched values that lie at an edge of their range, as `name=value`.
        searched: number of searched values; 0 is a configuration that was given.
        curve: best validation value by number of trials; None where no trial was complete.
    """

    strategy: str = ""
    trials: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    replicates: int = 0
    epochs: int = 0
    from_pruned: bool = False
    at_edge: tuple[str, ...] = ()
    searched: int = 0
    curve: EffortCurve | None = None


class Importance(_Part):
    """How much each searched value decides whether a trial is among the best.

    Attributes:
        strategy: whose trials were looked at; None: those of all strategies.
        trials: how many.
        of: value name -> share, the largest first; they add up to 1.
    """

    strategy: str | None = None
    trials: int = 0
    of: dict[str, float] = Field(default_factory=dict)


class Planned(_Part):
    """What `raysel plan` had estimated; no seconds where nothing had been measured."""

    seconds: Number = None
    low: Number = None
    high: Number = None
    epochs: int | float | None = None
    trials: int | float | None = None
    made_on: Any = None


class Spent(_Part):
    """What the sweep took: seconds of the wall clock over all attempts, trials of the search, runs
    of the confirm phase, epochs of both."""

    seconds: Number = None
    planned: Planned | None = None
    trials: int = 0
    runs: int = 0
    epochs: int = 0


class SweepResults(_Part):
    """The outcome of a sweep.

    Attributes:
        status: `complete`, or `interrupted` where there is more to do.
        data: what was read: a `DataSummary` as a dictionary.
        layers: names of the model's layers, in forward order.
        layer_sizes: parameters of each of them.
        source: the source model, where the weights come from one.
        trials: of the search, by number.
        confirm: the confirmed strategies, the best by validation first.
        effort: on how much tuning each of them rests; empty in older sweeps.
        improvement: probability of improvement of each pair of them.
    """

    name: str
    description: str = ""
    sweep_id: str = ""
    status: str = "interrupted"
    data: dict[str, Any] | None = None
    objective: Objective = Objective()
    layers: tuple[str, ...] = ()
    layer_sizes: tuple[int, ...] = ()
    source: SourceFacts | None = None
    trials: tuple[TrialResult, ...]
    confirm: tuple[ConfirmedStrategy, ...]
    verdict: Verdict
    effort: tuple[StrategyEffort, ...] = ()
    improvement: tuple[Improvement, ...] = ()
    importance: tuple[Importance, ...] = ()
    spent: Spent = Spent()
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether both phases ran to their end."""
        return self.status == "complete"

    @property
    def winner(self) -> ConfirmedStrategy | None:
        """The confirmed strategy that the verdict names."""
        return next((row for row in self.confirm if row.strategy == self.verdict.winner), None)

    def to_dict(self) -> dict[str, Any]:
        """The content of the file."""
        return self.model_dump(mode="json")


def results_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `results.json`."""
    schema = SweepResults.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
