"""However a sweep or a trial ends: record, study and MLflow hold the states of the design's
table, with the cause as a tag."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from raysel.record.events import Event, Kind
from raysel.record.state import TrialState
from raysel.spec.sweep import Spec
from raysel.strategies import registry
from raysel.sweep.outcome import Outcome
from raysel.sweep.start import resume, start
from raysel.training.checkpoint import InFolder

from .drivers import live
from .endings import check, statuses
from .helpers import Silent, events_of, publish_nothing, states, without_clocks
from .puppet import puppet

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(autouse=True)
def restored_registry() -> Iterator[None]:
    """The strategies are as before after each test."""
    before = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)
    for name in [n for n in sys.modules if n.startswith("raysel_code_")]:
        del sys.modules[name]


class At(Silent):
    """Does something at an event: when the `count`-th of a kind was committed."""

    def __init__(self, kind: str, count: int, action: Callable[[], None]) -> None:
        super().__init__()
        self._kind, self._left, self._action = kind, count, action
        self.causes: list[str] = []

    def event(self, event: Event) -> None:
        super().event(event)
        self._left -= event.kind == self._kind
        if self._left == 0 and event.kind == self._kind:
            self._action()

    def stopping(self, cause: str) -> None:
        self.causes.append(cause)


def signalled(sign: signal.Signals) -> Callable[[], None]:
    """As a terminal or `kill` would."""
    return lambda: os.kill(os.getpid(), sign)


def ran(spec: Spec, reporter: Silent | None = None) -> Outcome:
    return start(spec, reporter or Silent(), publish_nothing)


def went_on(spec: Spec, *overrides: str) -> Outcome:
    return resume(spec.storage, spec.name, Silent(), publish_nothing, overrides)


def tag(spec: Spec, trial: str, name: str) -> str:
    client = mlflow.MlflowClient(f"sqlite:///{spec.storage}/mlflow.db")
    experiment = client.get_experiment_by_name(spec.name)
    assert experiment is not None
    (run,) = client.search_runs(
        [experiment.experiment_id], f"tags.`raysel.trial_id` = '{trial}'", max_results=2
    )
    return str(run.data.tags.get(name, ""))


# --- the sweep is ended ---------------------------------------------------------------------


@pytest.mark.slow  # in passing: the sweep of test_reconcile is stopped by SIGINT
@pytest.mark.parametrize(
    ("sign", "cause"),
    [(signal.SIGINT, "stopped by Ctrl-C"), (signal.SIGTERM, "stopped by SIGTERM")],
)
def test_b04_a_signal_ends_the_sweep_in_order_and_it_goes_on(
    tmp_path: Path, storage: Path, sign: signal.Signals, cause: str
) -> None:
    spec = puppet(tmp_path, storage, f"by_{sign.name.lower()}", "")
    reporter = At(Kind.EPOCH, 4, signalled(sign))
    outcome = ran(spec, reporter)
    assert (outcome.complete, outcome.cause, reporter.causes) == (False, cause, [cause])
    trials = check(spec, "INTERRUPTED", cause)
    assert statuses(trials) == ["COMPLETE", "INTERRUPTED"]
    assert trials["0001"].cause == cause
    assert went_on(spec).complete
    again = check(spec, "COMPLETE", None)
    assert statuses(again) == ["COMPLETE"] * 5  # four and a confirm run
    assert without_clocks(again["0000"]) == without_clocks(trials["0000"])


@pytest.mark.slow
def test_ctrl_c_twice_does_not_wait_for_the_epoch(tmp_path: Path, storage: Path) -> None:
    spec = puppet(tmp_path, storage, "twice", "if epoch == 2: time.sleep(90)")

    def twice() -> None:
        signalled(signal.SIGINT)()
        threading.Timer(1.0, signalled(signal.SIGINT)).start()

    began = time.monotonic()
    outcome = ran(spec, At(Kind.EPOCH, 1, lambda: threading.Timer(1.0, twice).start()))
    assert time.monotonic() - began < 60
    assert not outcome.complete
    trials = check(spec, "INTERRUPTED", "stopped by Ctrl-C")
    assert statuses(trials) == ["INTERRUPTED"] and len(trials["0000"].epochs) == 1


@pytest.mark.slow
def test_ctrl_c_while_the_source_model_is_trained(
    tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = puppet(tmp_path, storage, "early", "", "task.source=310")  # not in the cache yet
    reporter = Silent()
    reporter.began = lambda *_: threading.Timer(  # type: ignore[method-assign]
        0.5, signalled(signal.SIGINT)
    ).start()
    outcome = ran(spec, reporter)
    assert not outcome.complete and outcome.inputs.weights is None
    assert check(spec, "INTERRUPTED", "stopped by Ctrl-C") == {}


@pytest.mark.slow
def test_what_a_killed_driver_left_is_not_running_after_the_next_one_was_stopped(
    tmp_path: Path, storage: Path
) -> None:
    spec = puppet(tmp_path, storage, "left", "")
    ran(spec, At(Kind.EPOCH, 4, signalled(signal.SIGINT)))
    folder = Path(spec.storage) / spec.name
    _forget(folder, Kind.INTERRUPTED)  # as SIGKILL would have left it
    assert statuses(states(folder)) == ["COMPLETE", "RUNNING"]
    went_on(spec, "budget.seconds=0.001")
    check(spec, "INTERRUPTED", "the time budget of 0.001 s is used up")
    assert statuses(states(folder)) == ["COMPLETE", "INTERRUPTED"]


def _forget(folder: Path, kind: str) -> None:
    import sqlite3

    with sqlite3.connect(folder / "sweep.db") as connection:
        connection.execute("DELETE FROM events WHERE kind = ?", [kind])


@pytest.mark.slow
def test_the_time_budget_is_counted_over_all_lives(tmp_path: Path, storage: Path) -> None:
    spec = puppet(tmp_path, storage, "timed", "time.sleep(0.5)", "budget.seconds=4")
    first = ran(spec)
    cause = "the time budget of 4 s is used up"
    assert (first.complete, first.cause) == (False, cause)
    trials = check(spec, "INTERRUPTED", cause)
    assert statuses(trials)[-1] == "INTERRUPTED"
    epochs = sum(len(trial.epochs) for trial in trials.values())
    second = went_on(spec)  # nothing is left of it
    assert (second.complete, second.cause) == (False, cause)
    assert "--set budget.seconds=MORE" in second.resume
    after = states(first.folder.path)
    assert sum(len(trial.epochs) for trial in after.values()) <= epochs + 1
    check(spec, "INTERRUPTED", cause)
    assert went_on(spec, "budget.seconds=600").complete
    assert statuses(check(spec, "COMPLETE", None)) == ["COMPLETE"] * 5


@pytest.mark.slow  # in passing: unit/sweep/test_repeated_failures
def test_alike_failures_in_a_row_end_the_sweep(tmp_path: Path, storage: Path) -> None:
    does = "raise ValueError(f'no such thing: {number}')"
    spec = puppet(tmp_path, storage, "alike", does, "search.num_trials=9")
    outcome = ran(spec)
    assert outcome.failed and not outcome.complete
    assert str(outcome.cause).startswith("5 trials in a row failed alike: ValueError: no such")
    trials = check(spec, "INTERRUPTED", outcome.cause)
    assert statuses(trials) == ["FAILED"] * 5
    assert all((outcome.folder.trial(name) / "error.txt").is_file() for name in trials)


@pytest.mark.slow
def test_divergence_does_not(tmp_path: Path, storage: Path) -> None:
    overrides = ("search.num_trials=6", "training.learning_rate=1e30")
    outcome = ran(puppet(tmp_path, storage, "diverging", "", *overrides))
    assert outcome.complete and not outcome.failed
    trials = states(outcome.folder.path)
    assert statuses(trials) == ["FAILED"] * 6
    assert {str(t.cause).split(":")[0] for t in trials.values()} == {"diverged"}


# --- a trial is hit ---------------------------------------------------------------------------


@pytest.mark.slow  # in passing: unit/spec/test_user_code
def test_a_keyboard_interrupt_of_the_users_code_fails_its_trial(
    tmp_path: Path, storage: Path
) -> None:
    does = "if number > 0.5: raise KeyboardInterrupt"
    spec = puppet(tmp_path, storage, "pressed", does)
    code, out, err = live("run", str(tmp_path / "pressed.yaml"), "--quiet")
    assert code == 0, out + err
    trials = check(spec, "COMPLETE", None)
    hit = [t for t in trials.values() if t.config["parameters"]["number"] > 0.5]
    assert hit and {(t.status, t.cause) for t in hit} == {
        ("FAILED", "CodeExit: the code raised KeyboardInterrupt")
    }
    assert {t.status for t in trials.values() if t not in hit} == {"COMPLETE"}


@pytest.mark.slow  # in passing: unit/training/test_memory
def test_out_of_memory_is_tried_again_with_half_the_batch(tmp_path: Path, storage: Path) -> None:
    does = "if batch > 10 and number > 0.5: raise torch.OutOfMemoryError('Tried to allocate')"
    spec = puppet(tmp_path, storage, "short", does)
    reporter = Silent()
    assert ran(spec, reporter).complete
    trials = check(spec, "COMPLETE", None)
    hit = {n for n, t in trials.items() if t.config["parameters"]["number"] > 0.5}
    assert hit and hit != set(trials)
    note = "out of memory at batch 20 in epoch 1; again with 10 × 2"
    for name, trial in trials.items():
        assert trial.notes == ((note,) if name in hit else ())
        assert tag(spec, name, "raysel.notes") == (note if name in hit else "")
        assert len(trial.epochs) == 3


@pytest.mark.slow
def test_a_second_time_out_of_memory_fails_the_trial(tmp_path: Path, storage: Path) -> None:
    does = "if epoch == 2 and number > 0.5: raise torch.OutOfMemoryError(f'at {batch}')"
    spec = puppet(tmp_path, storage, "shorter", does, "search.num_trials=3")
    outcome = ran(spec)
    trials = check(spec, "COMPLETE", None)
    hit = [t for t in trials.values() if t.config["parameters"]["number"] > 0.5]
    assert outcome.complete and hit
    assert {(t.status, t.cause, len(t.epochs)) for t in hit} == {
        ("FAILED", "OutOfMemoryError: at 10", 1)
    }


@pytest.mark.slow
def test_a_worker_killed_goes_on_from_its_checkpoint_bit_identical(
    tmp_path: Path, storage: Path
) -> None:
    dies = (
        "if epoch == {} and number > 0.2 and first_time(f'{{number}} {{epoch}}'): "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    both = "\n".join(dies.format(epoch) for epoch in (1, 3))
    found = []
    for name, does in (("mortal", both), ("immortal", "")):
        (tmp_path / name).mkdir()
        spec = puppet(tmp_path / name, storage, name, does, "search.num_trials=2")
        assert ran(spec).complete
        trials = check(spec, "COMPLETE", None)
        found.append([(t.id, t.status, t.value, _rows(t)) for t in trials.values()])
        assert all(trial.notes == () for trial in trials.values())
    assert len(list((tmp_path / "mortal").glob("0.* *"))) >= 2  # it did happen
    assert [row[1:] for row in found[0]] == [row[1:] for row in found[1]]


def _rows(trial: TrialState) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "cost/seconds"} for row in trial.epochs]


@pytest.mark.slow
def test_a_worker_lost_more_often_than_allowed_fails_its_trial(
    tmp_path: Path, storage: Path
) -> None:
    does = "if epoch == 2 and number > 0.5: os.kill(os.getpid(), signal.SIGKILL)"
    spec = puppet(tmp_path, storage, "lost", does, "search.num_trials=2")
    outcome = ran(spec)
    trials = check(spec, "COMPLETE", None)
    hit = [t for t in trials.values() if t.config["parameters"]["number"] > 0.5]
    assert outcome.complete and hit
    for trial in hit:
        assert trial.status == "FAILED" and len(trial.epochs) == 1
        assert str(trial.cause).startswith("worker lost: ")
    kept = [t for t in trials.values() if t not in hit]
    assert {t.status for t in kept} <= {"COMPLETE"}


@pytest.mark.slow
def test_no_checkpoint_of_an_ended_trial_is_left(tmp_path: Path, storage: Path) -> None:
    spec = puppet(tmp_path, storage, "tidy", "", "search.num_trials=2")
    outcome = ran(spec, At(Kind.EPOCH, 5, signalled(signal.SIGTERM)))
    assert InFolder(outcome.folder.trial("0000")).newest() == (None, None)
    left, _ = InFolder(outcome.folder.trial("0001")).newest()
    assert left is not None and left["epoch"] == 2
    assert torch.is_tensor(next(iter(left["model"].values())))
    assert [e.kind for e in events_of(outcome.folder.path) if e.trial == "0001"][-1] == (
        "interrupted"
    )
