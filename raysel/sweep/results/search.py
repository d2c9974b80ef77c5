"""Of `results.json`: the trials of the search, and the tuning that they amount to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from raysel.sweep.results.part import Number, Part, finite


class Objective(Part):
    """What the sweep made small: the metric that decides, and others beside it."""

    metric: str = "val/error"
    mode: str = Field(default="min", description="always min: the smaller the better")
    secondary: tuple[str, ...] = Field(default=(), exclude_if=lambda metrics: not metrics)


class SourceFacts(Part):
    """The source model: its validation accuracy (0..1), and what its training took."""

    validation_accuracy: Number = None
    seconds: Number = None


class TrialResult(Part):
    """One trial of the search.

    Attributes:
        status: COMPLETE, PRUNED, FAILED or INTERRUPTED.
        cause: why it ended early.
        config: a `TrialConfig` as a dictionary.
        searched: the values that the search chose, by name.
        value: its objective; None where it has none.
        values: each of several objectives by name.
        to_beat: what its set of layers has to go below to be taken (`search.sampler: greedy`).
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
    values: dict[str, float] = Field(default_factory=dict, exclude_if=lambda values: not values)
    to_beat: Number = Field(default=None, exclude_if=lambda bound: bound is None)
    best_epoch: int | None = None
    seconds: Number = None
    epochs: tuple[dict[str, int | float | None], ...] = ()

    @property
    def registered(self) -> str:
        """The registered strategy of its arm."""
        return str(self.config.get("strategy") or self.strategy)

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
        values = ((int(row["epoch"] or 0), finite(row.get(metric))) for row in self.epochs)
        return [(epoch, value) for epoch, value in values if value is not None]

    def at_best(self, metric: str) -> float | None:
        """A metric at the best epoch."""
        return dict(self.curve(metric)).get(self.best_epoch or 0)


class EffortCurve(Part):
    """Best validation value after 1, 2, … trials; see `statistics.best_of_n.Effort`."""

    estimator: Literal["expected", "best_so_far"] = "best_so_far"
    best: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class StrategyEffort(Part):
    """The tuning that a strategy's configuration rests on.

    Attributes:
        trials: trials of the search that ended.
        complete, pruned, failed: of them.
        replicates: trials that repeated a configuration with another training seed.
        epochs: trained in all of them.
        from_pruned: whether its configuration comes from a pruned trial.
        at_edge: searched values that lie at an edge of their range, as `name=value`.
        outermost: searched numbers of which the lowest or the highest that was tried was the best,
            within their range, in words.
        range_steps: optimizer steps of its range test (`search.first: range_test`).
        cost: of a picture with its model, relative to that of the sweep's cheapest, where trials
            are shared out between models by it (`search.allocation: equal_cost`); else 1.
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
    outermost: tuple[str, ...] = Field(default=(), exclude_if=lambda values: not values)
    range_steps: int = Field(default=0, exclude_if=lambda steps: not steps)
    cost: float = Field(default=1.0, exclude_if=lambda cost: cost == 1.0)
    searched: int = 0
    curve: EffortCurve | None = None

    @property
    def nothing_to_tune(self) -> bool:
        """Whether the arm has one configuration, which no trial of the search tried."""
        return not self.searched and not self.trials


class PriorUse(Part):
    """What the search took of one earlier sweep (`search.prior`) for one strategy. The earlier
    trials are no effort of this sweep: every strategy has as many trials here.

    Attributes:
        sweep, sweep_id: the earlier sweep's address in the sweep file, and its permanent id.
        trials: how many of its trials lie in this sweep's space.
        first: ids of the trials that are configurations of it.
        given: how many of its trials tpe is given while its order agrees with this sweep's trials.
        warmed: ids of the trials that tpe suggested so.
    """

    sweep: str = ""
    sweep_id: str = ""
    strategy: str = ""
    trials: int = 0
    first: tuple[str, ...] = ()
    given: int = 0
    warmed: tuple[str, ...] = ()


class Importance(Part):
    """How much each searched value decides whether a trial is among the best.

    Attributes:
        strategy: whose trials were looked at; None: those of all strategies.
        trials: how many.
        of: value name -> share, the largest first; they add up to 1.
    """

    strategy: str | None = None
    trials: int = 0
    of: dict[str, float] = Field(default_factory=dict)
