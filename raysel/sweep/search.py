"""The search: one Optuna study decides what runs next and what ends early.

The event is committed first and is the truth; the study follows from it. Optuna commits
each call in a transaction of its own, so a driver that dies between the two leaves a study
that lacks the last event: `StudyLedger` brings it up to date when it attaches.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import optuna
import sqlalchemy as sa
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from raysel import allocation
from raysel.search import budget, pruner, sampler, walks_every_point
from raysel.space import STRATEGY, Space
from raysel.spec import ObjectiveSpec, Spec, TrialConfig, objective_sign
from raysel.sweep import pruning
from raysel.sweep.books import Books
from raysel.sweep.engine import Assignment
from raysel.tracking.database import engine_options, patiently, told
from raysel.tracking.owner import Owner
from raysel.tracking.record import Event, Kind

_T = TypeVar("_T")
_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}

FIRST_REPLICATE = 1_000_000
"""What is added to the sweep's seed for the second trial of a configuration, one more for the
third, …: far from the confirm phase's seeds, which no trial of the search may have had."""


def trial_id(number: int) -> str:
    """The record's name of Optuna's trial `number`."""
    return f"{number:04d}"


def open_study(spec: Spec, space: Space, url: str, owner: Owner | None = None) -> optuna.Study:
    """The sweep's study in the record's database, made with its first trials if it is new.

    Args:
        owner: guards every transaction of the study too.

    Raises:
        Trouble: the database does not answer, or the sweep is owned by another driver now.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with told(url):
        storage = RDBStorage(url, engine_kwargs=engine_options(url))
    if owner is not None:
        owner.guard(storage.engine)
    study = optuna.create_study(
        storage=storage,
        study_name=spec.name,
        direction=direction(spec),
        pruner=pruner(spec.pruner, space.max_epochs),
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([spec.objective.metric])
    for parameters in space.first_trials():
        study.enqueue_trial(parameters, skip_if_exists=True)
    return study


def direction(spec: Spec) -> StudyDirection:
    """Whether less or more is better, in Optuna's words."""
    return StudyDirection.MINIMIZE if spec.objective.mode == "min" else StudyDirection.MAXIMIZE


def existing_study(spec: Spec, url: str) -> optuna.Study | None:
    """The sweep's study to look at, None if there is none; nothing is written."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options = engine_options(url)
    engine = sa.create_engine(url, **options)
    there = sa.inspect(engine).has_table("studies")
    engine.dispose()
    if not there:
        return None
    storage = RDBStorage(
        url, engine_kwargs=options, skip_compatibility_check=True, skip_table_creation=True
    )
    try:
        return optuna.load_study(study_name=spec.name, storage=storage)
    except KeyError:
        return None


class StudyLedger:
    """Asks and tells the study; see `raysel.sweep.engine.Ledger`."""

    def __init__(self, spec: Spec, space: Space, study: optuna.Study, books: Books) -> None:
        self._spec, self._space, self._study, self._books = spec, space, study, books
        self._budget = budget(spec.search, space)
        self._live: dict[str, tuple[Trial, TrialConfig]] = {}
        self._values: dict[str, dict[int, float]] = {}
        self._replay()

    def next_trial(self) -> Assignment | None:
        """What a dead driver left comes first, then a new suggestion while the budget lasts."""
        return self._patiently(self._next_trial)

    def _next_trial(self) -> Assignment | None:
        trials = self._trials()
        left = [t for t in trials if t.state == TrialState.RUNNING and not self._is_live(t)]
        trial = self._adopt(left[0]) if left else self._ask(trials)
        if trial is None:
            return None
        config = self._replicate(trial, self._space.suggest(trial), trials)
        name = trial_id(trial.number)
        self._live[name] = (trial, config)
        self._values.setdefault(name, {})
        searched = self._space.searched_values(config)
        self._books.started(name, trial.number, "search", config, searched, trial.params)
        return Assignment(name, config, max(self._values[name], default=0))

    def epoch(
        self, trial: str, epoch: int, metrics: dict[str, float], note: str | None = None
    ) -> bool:
        """Record an epoch, report it to the study; whether the trial ends with it."""
        if trial not in self._live:
            return True  # it has ended, and Ray tried it again: its worker was lost at the end
        new = self._books.epoch(trial, epoch, metrics, note)
        optuna_trial, config = self._live[trial]
        value = metrics.get(self._spec.objective.metric, math.nan)
        if not math.isfinite(value):
            self.failed(trial, f"{self._spec.objective.metric} is not finite at epoch {epoch}")
            return True
        values = self._values[trial]
        value = values.setdefault(epoch, value)  # the record keeps what was told first
        if not new and epoch < max(values):
            return False  # told in an earlier life, which let it go on
        self._patiently(lambda: _report(optuna_trial, epoch, value))
        if epoch >= config.training.epochs:
            self._end(trial, "COMPLETE", epoch, None)
            return True
        verdict = self._patiently(lambda: pruning.ask(optuna_trial))
        if verdict.prune:
            self._end(trial, "PRUNED", epoch, f"pruned at epoch {epoch}")
        else:
            self._patiently(verdict.note)
        return verdict.prune

    def failed(self, trial: str, cause: str) -> None:
        """Record a failure; the study learns of it as FAIL."""
        self._end(trial, "FAILED", max(self._values[trial], default=0), cause)

    def interrupt(self, cause: str) -> None:
        """Every trial that is still live was cut short: RUNNING in the study, owned by no one."""
        for trial in list(self._live):
            self._books.interrupted(trial, cause)
        self._live.clear()

    def _end(self, trial: str, status: str, epoch: int, cause: str | None) -> None:
        if trial not in self._live:
            return  # a worker's last word on a trial that has ended
        value = None if status == "FAILED" else self._value(self._values[trial])
        payload = {"status": status, "cause": cause, "value": value}
        self._books.write(trial, Kind.ENDED, epoch, payload)
        optuna_trial = self._live.pop(trial)[0]
        self._patiently(lambda: tell_end(optuna_trial, status, value))

    def _value(self, values: Mapping[int, float]) -> float:
        """A trial's objective: of its best epoch, or of its last (`confirm.epoch`)."""
        if self._spec.confirm.epoch == "last":
            return values[max(values)]
        return best(values, self._spec.objective)[1]

    def _replicate(
        self, trial: Trial, config: TrialConfig, trials: list[FrozenTrial]
    ) -> TrialConfig:
        """A configuration that was tried before runs with a seed of its own.

        With the same seed it would give the same numbers again; with another one it tells how
        far they are chance. The seed is a function of the study: of the trials before it.
        """
        chosen = trial.params
        before = sum(t.params == chosen for t in trials if t.number < trial.number)
        if not before:
            return config
        return config.model_copy(update={"seed": config.seed + FIRST_REPLICATE + before - 1})

    def _is_live(self, trial: FrozenTrial) -> bool:
        return trial_id(trial.number) in self._live

    def _patiently(self, action: Callable[[], _T]) -> _T:
        """What may be done twice: a database server that was cut off is waited for."""
        return patiently(self._books.record.url, action)

    def _adopt(self, frozen: FrozenTrial) -> Trial:
        """Take up a trial that is RUNNING and that nobody runs."""
        self._study.sampler = sampler(
            self._spec.search, self._space, frozen.number, False, allocation.strategy_of(frozen)
        )
        return Trial(self._study, frozen._trial_id)

    def _ask(self, trials: list[FrozenTrial]) -> Trial | None:
        """A new trial; its suggestion is a function of the study alone."""
        waiting = [t for t in trials if t.state == TrialState.WAITING]
        if not waiting and len(trials) >= self._budget:
            return None
        number = min((t.number for t in waiting), default=len(trials))
        strategy = allocation.strategy_of(trials[number]) if waiting else self._whose_turn(trials)
        self._study.sampler = sampler(self._spec.search, self._space, number, strategy=strategy)
        return self._study.ask()

    def _whose_turn(self, trials: list[FrozenTrial]) -> str | None:
        """The strategy of the next trial, put into the study; None leaves it to the sampler."""
        search = self._spec.search
        if not allocation.is_equal(search, self._space) or walks_every_point(search, self._space):
            return None
        strategy = allocation.next_strategy(search, self._space, trials)
        self._study.enqueue_trial({STRATEGY: strategy})
        return strategy

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _replay(self) -> None:
        """Bring the study up to date with the record."""
        known = {trial_id(t.number): t for t in self._trials()}
        for stored in self._books.record.events():
            event = stored.event
            frozen = known.get(event.trial)
            if frozen is not None and frozen.state == TrialState.RUNNING:
                self._apply(event, Trial(self._study, frozen._trial_id))

    def _apply(self, event: Event, trial: Trial) -> None:
        if event.kind == Kind.EPOCH:
            value = event.payload["metrics"].get(self._spec.objective.metric)
            if value is not None:
                self._values.setdefault(event.trial, {})[event.epoch] = value
                _report(trial, event.epoch, value)
        elif event.kind == Kind.ENDED:
            tell_end(trial, event.payload["status"], event.payload["value"])


def tell_end(trial: Trial, status: str, value: float | None) -> None:
    """Tell the trial's study how it ended: `COMPLETE`, `PRUNED` or `FAILED`; once."""
    if trial.study._storage.get_trial(trial._trial_id).state.is_finished():
        return
    state = _STATES[status]
    if state == TrialState.PRUNED:
        pruning.ask(trial).note()
    if state == TrialState.COMPLETE:
        trial.study.tell(trial, value)
    else:  # a pruned trial's value is its last intermediate one
        trial.study.tell(trial, state=state)


def best(values: Mapping[int, float], objective: ObjectiveSpec) -> tuple[int, float]:
    """The epoch with the best value, the first of equals, and the value."""
    sign = objective_sign(objective.mode)
    epoch = min(values, key=lambda e: (sign * values[e], e))
    return epoch, values[epoch]


def _report(trial: Trial, step: int, value: float) -> None:
    """Report unless the study has a value for this step already (it would warn)."""
    known: dict[int, Any] = trial.study._storage.get_trial(trial._trial_id).intermediate_values
    if step not in known:
        trial.report(value, step)
