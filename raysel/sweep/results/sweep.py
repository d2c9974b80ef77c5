"""`results.json` as a whole."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from raysel.spec.arms import arm_of
from raysel.sweep.results.confirm import ConfirmedStrategy, ConfirmRun
from raysel.sweep.results.part import Number, Part
from raysel.sweep.results.search import (
    Importance,
    Objective,
    PriorUse,
    SourceFacts,
    StrategyEffort,
    TrialResult,
)
from raysel.sweep.results.verdict import Improvement, Verdict


class Planned(Part):
    """What `raysel plan` had estimated; no seconds where nothing had been measured."""

    seconds: Number = None
    low: Number = None
    high: Number = None
    epochs: int | float | None = None
    trials: int | float | None = None
    made_on: Any = None


class StoredFeatures(Part):
    """What was read of the frozen layers' stored output: by how many trials and runs, for how many
    examples over all epochs, and seconds in which it was computed, waited for or checked."""

    trials: int = 0
    examples: int = 0
    seconds: Number = None


class Spent(Part):
    """What the sweep took: seconds of the wall clock over all attempts, trials of the search, runs
    of the confirm phase, epochs of both."""

    seconds: Number = None
    planned: Planned | None = None
    trials: int = 0
    runs: int = 0
    epochs: int = 0
    features: StoredFeatures | None = None


class SweepResults(Part):
    """The outcome of a sweep.

    Attributes:
        status: `complete`, or `interrupted` where there is more to do.
        data: what was read: a `DataSummary` as a dictionary.
        split: digest of which examples were in which part, as the record has it; empty in older
            results.
        layers: names of the model's layers, in forward order; of several models those of all.
        layer_sizes: parameters of each of them; empty of several models.
        models: of several models that of each arm; else empty.
        layers_by_model: of several models the layers of each; else empty.
        source: the source model, where the weights come from one.
        source_by_model: of several models that of each; else empty.
        trials: of the search, by number.
        pareto_front: of several objectives the ids of the trials that no other one dominates; the
            best by `objective.metric` first, then the farthest from those before.
        confirm: the confirmed strategies, the best by validation first.
        other_configurations: what else was confirmed (`confirm.configurations`), likewise; the
            verdict does not take part in it.
        effort: on how much tuning each of them rests; empty in older sweeps.
        prior: what the search took of earlier sweeps (`search.prior`), by sweep and strategy.
        improvement: probability of improvement of each pair of them.
    """

    name: str
    description: str = ""
    sweep_id: str = ""
    status: str = "interrupted"
    data: dict[str, Any] | None = None
    split: str = Field(default="", exclude_if=lambda digest: not digest)
    objective: Objective = Objective()
    layers: tuple[str, ...] = ()
    layer_sizes: tuple[int, ...] = ()
    models: dict[str, str] = Field(default_factory=dict, exclude_if=lambda models: not models)
    layers_by_model: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, exclude_if=lambda layers: not layers
    )
    source: SourceFacts | None = None
    source_by_model: dict[str, SourceFacts] = Field(
        default_factory=dict, exclude_if=lambda sources: not sources
    )
    trials: tuple[TrialResult, ...]
    pareto_front: tuple[str, ...] = Field(default=(), exclude_if=lambda front: not front)
    confirm: tuple[ConfirmedStrategy, ...]
    other_configurations: tuple[ConfirmedStrategy, ...] = ()
    verdict: Verdict
    effort: tuple[StrategyEffort, ...] = ()
    prior: tuple[PriorUse, ...] = Field(default=(), exclude_if=lambda used: not used)
    improvement: tuple[Improvement, ...] = ()
    importance: tuple[Importance, ...] = ()
    spent: Spent = Spent()
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether both phases ran to their end."""
        return self.status == "complete"

    @property
    def confirm_runs(self) -> tuple[ConfirmRun, ...]:
        """The runs of every confirmed configuration."""
        rows = (*self.confirm, *self.other_configurations)
        return tuple(run for row in rows for run in row.runs)

    @property
    def untouched(self) -> list[float]:
        """Test errors of the model before it was tuned, of each run that measured it."""
        runs = (run for row in self.confirm for run in row.runs)
        return [run.untouched_error for run in runs if run.untouched_error is not None]

    @property
    def registered(self) -> dict[str, str]:
        """Each arm -> its registered strategy."""
        confirmed = {row.strategy: row.registered or row.strategy for row in self.confirm}
        return confirmed | {trial.strategy: trial.registered for trial in self.trials}

    def layers_of(self, arm: str) -> tuple[str, ...]:
        """The layers of an arm's model, in forward order."""
        return self.layers_by_model.get(self.models.get(arm, ""), self.layers)

    def arm_of(self, strategy: str, beside: str = "") -> str | None:
        """The arm that stands for a registered strategy; see `raysel.spec.arms.arm_of`.

        Args:
            beside: of several models that of this arm.
        """
        model = self.models.get(beside)
        own = {arm: its for arm, its in self.registered.items() if self.models.get(arm) == model}
        return arm_of(strategy, own if model else self.registered)

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
