"""A sweep without Ray and without training: a real record, the study in memory, and a worker whose
errors are a function of the configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from raysel.engine.trial_source import Assignment, TrialSource
from raysel.record.event_log import EventLog
from raysel.record.events import Event, Record, sqlite_url
from raysel.record.state import RUNNING, TrialState, fold
from raysel.search.space import Space
from raysel.search.study import OPTUNA_STATE
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.search_controller import SearchController
from raysel.training.worker_messages import EpochMessage

LAYERS = ("stem", "body", "head")

FILE = """\
name: toy
task: {data: digits}
model: {name: resnet10t}
strategies:
  surgical: {block: search}
  bvg_ls: {ema_decay: {float: [0.5, 0.99]}}
training: {learning_rate: {float: [1e-4, 1e-1], log: true}, epochs: 4}
search: {num_trials: 7, seed: 3, run_single_configurations: true}
pruner: {kind: asha, grace_epochs: 1, reduction_factor: 2}
confirm: {epoch: best}
"""


def sweep(*overrides: str) -> Spec:
    return parse(FILE, overrides)


class Died(BaseException):
    """The driver was killed; not an `Exception`, so that nothing catches it."""


Worker = Callable[[TrialConfig, int], float]


def error(config: TrialConfig, epoch: int) -> float:
    """Falls with the epochs, least for a learning rate of 0.01; the last epoch is worse again."""
    distance = abs(math.log10(config.training.learning_rate) + 2)
    turn = 0.1 if epoch == config.training.epochs else 0.0
    return round(0.2 + 0.1 * distance + 0.3 / epoch + turn, 6)


@dataclass
class Attempt:
    """One life of the driver over the folder's record and study."""

    spec: Spec
    record: Record
    controller: SearchController
    reported: list[Event]

    @property
    def study(self) -> optuna.Study:
        return self.controller.study

    @property
    def events(self) -> list[Event]:
        return [stored.event for stored in self.record.events()]

    @property
    def states(self) -> dict[str, TrialState]:
        return fold(self.events)

    @property
    def trials(self) -> list[FrozenTrial]:
        """The study's trials but for those that still wait to be asked for."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != OptunaState.WAITING]

    def interrupt(self, cause: str) -> None:
        """The driver ends in order, as `Session` does."""
        interrupt_running(self.record, self.reported, cause)


def interrupt_running(record: Record, reported: list[Event], cause: str) -> None:
    """Record every running trial as interrupted."""
    event_log = EventLog(record, 1, reported.append)
    for state in fold(stored.event for stored in record.events()).values():
        if state.status == RUNNING:
            event_log.interrupted(state.id, cause)


def begin(folder: Path, spec: Spec, attempt: int = 1) -> Attempt:
    """A driver starts: everything that it knows is in the folder."""
    record = Record(sqlite_url(folder / "sweep.db"))
    reported: list[Event] = []
    controller = SearchController(
        spec, Space(spec, LAYERS), EventLog(record, attempt, reported.append)
    )
    return Attempt(spec, record, controller, reported)


def work(
    controller: TrialSource, assignment: Assignment, after: int = 0, worker: Worker = error
) -> int:
    """Run a trial from the epoch after `after` until the controller ends it; its last epoch."""
    for epoch in range(after + 1, assignment.config.training.epochs + 1):
        value = worker(assignment.config, epoch)
        metrics = {"train/loss": 1.0 / epoch, "val/error": value, "val/loss": 2 * value}
        if controller.epoch(assignment.trial, EpochMessage(epoch, metrics)):
            return epoch
    raise AssertionError("a trial must end with its last epoch")


def handed_out(attempt: Attempt) -> Iterator[Assignment]:
    """The controller's trials one at a time, each run before the next is asked for.

    A trial that an earlier driver left tells its last epoch once more: its worker's checkpoint
    may be newer than the record.
    """
    while (assignment := attempt.controller.next_trial()) is not None:
        epochs = attempt.states[assignment.trial].epochs
        yield assignment
        work(attempt.controller, assignment, after=max(len(epochs) - 1, 0))


def run(attempt: Attempt) -> list[Assignment]:
    """Work off all that is left."""
    return list(handed_out(attempt))


def start_one(attempt: Attempt) -> Assignment:
    assignment = attempt.controller.next_trial()
    assert assignment is not None
    return assignment


def assert_records_agree(attempt: Attempt) -> None:
    """Events and study say the same of every trial."""
    states = attempt.states
    assert [f"{t.number:04d}" for t in attempt.trials] == list(states)
    for trial in attempt.trials:
        state = states[f"{trial.number:04d}"]
        assert trial.state == OPTUNA_STATE[state.status]
        epochs = {row["epoch"]: row[attempt.spec.objective.metric] for row in state.epochs}
        assert trial.intermediate_values == {e: v for e, v in epochs.items() if v is not None}
        if trial.state == OptunaState.COMPLETE:
            assert trial.value == state.value
