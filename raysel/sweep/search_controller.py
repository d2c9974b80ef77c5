"""The search: an Optuna study decides what runs next and what ends early.

The study lives in the driver's memory (`raysel.search.study`); whatever it decides is committed
as an event before a worker receives it. A driver that dies loses nothing that the next
one cannot rebuild.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as OptunaState

from raysel.engine.trial_source import Assignment
from raysel.record.event_log import EventLog
from raysel.record.events import Kind
from raysel.record.failure_kind import FailureKind, failed_end
from raysel.record.state import COMPLETE, ENDED, PRUNED, TrialState, fold, fold_sweep
from raysel.search import allocation
from raysel.search.dominance import objectives_of
from raysel.search.dominance_pruner import DominancePruner
from raysel.search.greedy import note_to_beat
from raysel.search.layer_sets import GREEDY
from raysel.search.prior import of_record
from raysel.search.samplers import sampler
from raysel.search.space import STRATEGY, Space
from raysel.search.study import (
    attributes_of,
    facts_of,
    live_trial,
    reported,
    study_of,
    tell_end,
    trial_id,
)
from raysel.search.trial_budget import budget, is_equal, walks_every_point
from raysel.spec.sweep import Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.greedy_search import GreedySearch
from raysel.sweep.ranking import best_epoch
from raysel.training.worker_messages import EpochMessage

FIRST_REPLICATE = 1_000_000
"""What is added to the sweep's seed for the second trial of a configuration, one more for the
third, …: far from the confirm phase's seeds, which no trial of the search may have had."""


@dataclass
class _Live:
    """A running trial: its Optuna trial, the objective after each epoch, and of each epoch all
    objectives."""

    trial: Trial
    config: TrialConfig
    values: dict[int, float] = field(default_factory=dict)
    rows: dict[int, Mapping[str, float | None]] = field(default_factory=dict)


class SearchController:
    """Ask-and-tell loop around the study; see `raysel.engine.trial_source.TrialSource`."""

    def __init__(self, spec: Spec, space: Space, event_log: EventLog, examples: int = 0) -> None:
        """
        Args:
            examples: of the validation part, where sets of layers grow.

        Raises:
            OperationalError: the record cannot be read, or misses a trial.
        """
        self._spec, self._space, self._event_log = spec, space, event_log
        self._metric, self._metrics = spec.objective.metric, spec.objective.metrics
        self._dominance = DominancePruner(spec.pruner) if spec.objective.is_multiple else None
        grows = spec.search.sampler == GREEDY
        self._greedy = GreedySearch(spec, space, examples) if grows else None
        kept = fold_sweep(stored.event for stored in event_log.record.events()).prior
        self._prior = of_record(kept) if kept else None
        searched = self._searched()
        self.study = study_of(spec, space, searched, self._prior)
        self._budget = budget(spec.search, space)
        self._arms, self._waiting = allocation.TrialsByArm(), allocation.WaitingTrials()
        begun = (t for t in self._trials() if t.state != OptunaState.WAITING)
        self._tried = Counter(allocation.configuration_of(trial.params) for trial in begun)
        self._live: dict[str, _Live] = {}
        self._left = deque(trial for trial in searched if trial.status not in ENDED)
        """What an earlier driver left."""

    def next_trial(self) -> Assignment | None:
        """First the trials that an earlier driver left, then suggestions while the budget lasts."""
        while self._left:
            if (assignment := self._resumed(self._left.popleft())) is not None:
                return assignment
        trial = self._ask(self._trials())
        if trial is None:
            return None
        config = self._replicate(trial, self._space.suggest(trial))
        return self._assigned(_Live(trial, config), facts_of(trial))

    def _resumed(self, state: TrialState) -> Assignment | None:
        """Resume a trial; None for one whose last epoch was recorded without its end, which is
        written now."""
        self.study.sampler = RandomSampler(seed=0)  # everything is suggested already
        trial = live_trial(self.study, state.number)
        config = TrialConfig.model_validate(state.config)
        rows = {int(row["epoch"] or 0): row for row in state.epochs}
        live = _Live(trial, config, reported(state, self._metric), rows)
        last = len(state.epochs)
        if self._is_last(live, last):
            self._live[state.id] = live
            unknown = self._unknown(live.rows.get(last, {}))
            end = self._not_finite(unknown, last) if unknown else self._ended(COMPLETE, live)
            self._end(state.id, end, last)
            return None
        facts = ("suggested", "distributions", "attributes")
        return self._assigned(live, {name: getattr(state, name) for name in facts})

    def _assigned(self, live: _Live, facts: Mapping[str, Any]) -> Assignment:
        name = trial_id(live.trial.number)
        self._live[name] = live
        searched = self._space.searched_values(live.config)
        self._event_log.started(name, live.trial.number, "search", live.config, searched, facts)
        return Assignment(name, live.config, max(live.values, default=0))

    def epoch(self, trial: str, message: EpochMessage) -> bool:
        """Report an epoch to the study and record it; return whether the trial ends."""
        live = self._live.get(trial)
        if live is None:
            return True  # it has ended, and Ray tried it again: its worker was lost at the end
        epoch, metrics, incident = message.epoch, message.metrics, message.incident
        if epoch in live.values:  # an older checkpoint was taken; the record keeps what it has
            self._event_log.epoch(trial, epoch, metrics, incident)
            return False
        before = attributes_of(self.study, live.trial.number)
        end = self._verdict(live, epoch, metrics)
        after = attributes_of(self.study, live.trial.number)
        noted = {name: value for name, value in after.items() if before.get(name) != value}
        self._event_log.epoch(trial, epoch, metrics, incident, noted, end)
        if end is not None:
            self._tell(trial, end)
        return end is not None

    def _verdict(
        self, live: _Live, epoch: int, metrics: Mapping[str, float]
    ) -> dict[str, Any] | None:
        """The trial's end with this epoch; None if it continues."""
        if unknown := self._unknown(metrics):
            return self._not_finite(unknown, epoch)
        live.rows[epoch] = {metric: metrics[metric] for metric in self._metrics}
        live.values[epoch] = metrics[self._metric]
        if self._dominance is None:
            live.trial.report(metrics[self._metric], epoch)
        if self._is_last(live, epoch):
            return self._ended(COMPLETE, live)
        if self._prunes(live, epoch):
            return self._ended(PRUNED, live, f"pruned at epoch {epoch}")
        return None

    def _unknown(self, metrics: Mapping[str, float | None]) -> str | None:
        """The first objective that is not finite, or not there; None where all are."""
        values = ((metric, metrics.get(metric)) for metric in self._metrics)
        return next((m for m, v in values if v is None or not math.isfinite(v)), None)

    def _prunes(self, live: _Live, epoch: int) -> bool:
        if self._dominance is None:
            return live.trial.should_prune()
        reached = objectives_of(self._metrics, live.rows, epoch)
        return self._dominance.prune(
            live.trial, epoch, [v for v in reached.values() if v is not None]
        )

    def _is_last(self, live: _Live, epoch: int) -> bool:
        """Whether a trial ends with an epoch, as its worker has it too."""
        lowest = best_epoch(live.values) if live.values else epoch
        return live.config.training.is_last(epoch, lowest)

    def failed(self, trial: str, kind: FailureKind, cause: str) -> None:
        """Record a failure; the study has it as FAIL."""
        if trial in self._live:  # else a worker's last report of a trial that has ended
            epoch = max(self._live[trial].values, default=0)
            self._end(trial, failed_end(kind, cause), epoch)

    def _end(self, trial: str, end: Mapping[str, Any], epoch: int) -> None:
        self._event_log.write(trial, Kind.ENDED, epoch, end)
        self._tell(trial, end)

    def _tell(self, trial: str, end: Mapping[str, Any]) -> None:
        several = end.get("values")
        values = [several[metric] for metric in self._metrics] if several else [end["value"]]
        tell_end(self._live.pop(trial).trial, end["status"], values)

    def _ended(self, status: str, live: _Live, cause: str | None = None) -> dict[str, Any]:
        """The payload of a trial's end; its value is that of its best epoch, or of its last
        (`confirm.epoch`)."""
        last = self._spec.confirm.epoch == "last"
        chosen = max(live.values) if last else best_epoch(live.values)
        end: dict[str, Any] = {"status": status, "cause": cause, "value": live.values[chosen]}
        if self._dominance is not None:
            end["values"] = objectives_of(self._metrics, live.rows, chosen)
        return end

    def _not_finite(self, metric: str, epoch: int) -> dict[str, Any]:
        cause = f"{metric} is not finite at epoch {epoch}"
        return failed_end(FailureKind.NOT_FINITE, cause)

    def _replicate(self, trial: Trial, config: TrialConfig) -> TrialConfig:
        """A configuration that was tried before runs with a seed of its own.

        With the same seed it would give the same numbers again; with another one it shows how
        far they are chance. The seed is a function of the study: of the trials before it.
        """
        configuration = allocation.configuration_of(trial.params)
        before = self._tried[configuration]
        self._tried[configuration] += 1
        if not before:
            return config
        return config.model_copy(update={"seed": config.seed + FIRST_REPLICATE + before - 1})

    def _ask(self, trials: list[FrozenTrial]) -> Trial | None:
        """A new trial; its suggestion is a function of the study alone."""
        waiting = self._waiting.first(trials)
        if waiting is None and len(trials) >= self._budget:
            return None
        if waiting is None and self._greedy is not None:
            return self._grown(self._greedy)
        if waiting is None:
            number, strategy, prior = len(trials), self._whose_turn(trials), self._prior
        else:  # what waits is chosen already
            number, strategy, prior = waiting, allocation.arm_of_trial(trials[waiting]), None
        self.study.sampler = sampler(
            self._spec.search, self._space, number, strategy, prior, self._arms
        )
        return self.study.ask()

    def _grown(self, greedy: GreedySearch) -> Trial | None:
        """A trial of a set with one layer more; None while the sets wait for trials that run."""
        addition = greedy.next_addition(self._searched())
        if addition is None:
            return None
        self.study.enqueue_trial(addition.values)
        self.study.sampler = RandomSampler(seed=0)  # all values are given
        trial = self.study.ask()
        note_to_beat(trial, addition.to_beat)
        return trial

    def _whose_turn(self, trials: list[FrozenTrial]) -> str | None:
        """The strategy of the next trial, put into the study; None leaves it to the sampler."""
        search = self._spec.search
        if not is_equal(search, self._space) or walks_every_point(search, self._space):
            return None
        strategy = allocation.next_strategy(search, self._space, self._arms, trials)
        own = self._arms.of(trials, strategy)
        again = allocation.replicate_of(self._space, own, strategy) if strategy else None
        self.study.enqueue_trial({STRATEGY: strategy} if again is None else again)
        return strategy

    def _searched(self) -> list[TrialState]:
        states = fold(stored.event for stored in self._event_log.record.events())
        return [trial for trial in states.values() if trial.phase == "search"]

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)
