"""Of `results.json`: the runs of the confirm phase."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from raysel.sweep.results.part import Number, Part


class TestedEpoch(Part):
    """The test metrics of one epoch of a confirm run (`confirm.test_every_epoch`)."""

    epoch: int = 0
    error: Number = None
    loss: Number = None


def _metric(name: str, **changes: Any) -> Any:
    return Field(default=None, alias=name, **changes)


def _is_none(value: object) -> bool:
    return value is None


class ConfirmRun(Part):
    """One confirm run: a strategy's best configuration with another seed.

    Attributes:
        split: number of its split of the data, from 1; 0 is the search's own.
        source_seed: which of the source models it began with.
        epoch: the one whose weights were tested.
        val_balanced_error, val_top5_error, val_worst_group_error: only where the sweep optimised
            that.
        test_worst_group_error, group_errors: the largest error of a group, and test error by
            group; only of data with groups.
        moved: layer -> how much it moved, as `ConfirmedStrategy.moved_is` says.
        updated_share: of the parameters that moved at least once.
        source_error_before, source_error: error on the source's validation examples, of the
            initial and of the tested weights; only where the runs begin with the source's model.
        untouched_error: test error of the initial weights; only of full fine-tuning, and where
            these have a classifier.
        distance: layer -> norm of the change of its parameters over their norm at the start.
        peak_memory_bytes: of torch's tensors; see `training.peak_memory`.
        test_curve: only where every epoch was tested.
    """

    id: str = ""
    seed: int = 0
    split: int = 0
    source_seed: int = 0
    epoch: int = 0
    val_balanced_error: Number = _metric("val/balanced_error", exclude_if=_is_none)
    val_top5_error: Number = _metric("val/top5_error", exclude_if=_is_none)
    val_worst_group_error: Number = _metric("val/worst_group_error", exclude_if=_is_none)
    val_error: Number = _metric("val/error")
    val_loss: Number = _metric("val/loss")
    test_error: Number = _metric("test/error")
    test_loss: Number = _metric("test/loss")
    test_balanced_error: Number = _metric("test/balanced_error")
    test_top5_error: Number = _metric("test/top5_error")
    test_worst_group_error: Number = _metric("test/worst_group_error", exclude_if=_is_none)
    group_errors: dict[str, float] = Field(default_factory=dict, exclude_if=lambda by: not by)
    seconds: Number = None
    moved: dict[str, float] = Field(default_factory=dict)
    updated_share: Number = None
    source_error_before: Number = None
    source_error: Number = None
    untouched_error: Number = Field(default=None, exclude_if=_is_none)
    distance: dict[str, float] = Field(default_factory=dict)
    peak_memory_bytes: Number = None
    test_curve: tuple[TestedEpoch, ...] = Field(default=(), exclude_if=lambda curve: not curve)

    def metric(self, name: str) -> float | None:
        """A metric by its name in the file, `val/error`."""
        value: float | None = getattr(self, name.replace("/", "_"), None)
        return value

    @property
    def forgetting(self) -> float | None:
        """By how much the error on the source's validation examples rose, where it is known."""
        before, after = self.source_error_before, self.source_error
        return None if before is None or after is None else after - before


class Interval(Part):
    """A mean over runs with its 95 % interval (Student's t), which one run does not have."""

    mean: Number = None
    low: Number = None
    high: Number = None
    n: int = 0


class ConfirmedStrategy(Part):
    """An arm's confirm runs.

    Attributes:
        registered: the arm's registered strategy, where that is not named like the arm.
        trial: id of the trial of the search whose configuration they repeat; None where it was
            not searched, and `config` then is that configuration.
        validation: the objective, mean over the runs.
        moved: layer -> mean over the runs.
        moved_is: `share of steps`, or `weight` of a layer's learning rate.
        forgetting: error on the source's validation examples after minus before, 0..1.
        distance: layer -> mean over the runs.
        peak_memory_bytes: mean over the runs.
    """

    strategy: str = ""
    registered: str = Field(default="", exclude_if=lambda name: not name)
    trial: str | None = None
    config: dict[str, Any] = Field(default_factory=dict, exclude_if=lambda values: not values)
    label: str = ""
    runs: tuple[ConfirmRun, ...] = ()
    validation: Number = None
    validation_error: Number = None
    test_error: Interval = Interval()
    moved: dict[str, float] = Field(default_factory=dict)
    moved_is: str = "share of steps"
    updated_share: Number = None
    seconds: Number = None
    forgetting: Interval = Interval()
    distance: dict[str, float] = Field(default_factory=dict)
    peak_memory_bytes: Number = None

    @property
    def weighs_rates(self) -> bool:
        """Whether `moved` is a mean weight and not a share of steps."""
        return self.moved_is == "weight"

    def brief(self) -> dict[str, Any]:
        """What the record keeps of it; see `raysel.record.state.SweepState.confirmed`."""
        error = self.test_error
        return {
            "strategy": self.strategy,
            "test_error": error.mean,
            "low": error.low,
            "high": error.high,
            "validation": self.validation,
            "runs": error.n,
        }

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> a metric of its run, where it has one."""
        values = {run.seed: run.metric(metric) for run in self.runs}
        return {seed: value for seed, value in values.items() if value is not None}
