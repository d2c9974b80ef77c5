"""Phases over the same workers, when a trial that loses its workers is given up, and what Tune
keeps of one."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.result import DONE, HOSTNAME, PID, TRAINING_ITERATION, TRIAL_ID
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher, SearchGenerator
from trial_kit import SETTINGS

from raysel.engine import searcher as searching_module
from raysel.engine.searcher import Given, LaneSearcher, OpenLane
from raysel.engine.trial_source import Assignment, Lane, Phase, StopRequest
from raysel.engine.tune import (
    MAX_WORKER_FAILURES,
    MESSAGE,
    _ImmediateStopper,
    _TrialSourceScheduler,
)
from raysel.spec.trial_config import TrialConfig
from raysel.training.worker_messages import EpochMessage


class Source:
    """A trial source over a list; whatever is reported ends nothing."""

    def __init__(self, *trials: str) -> None:
        self.left = list(trials)
        self.lost: list[str] = []

    def next_trial(self) -> Assignment | None:
        return Assignment(self.left.pop(0), CONFIG) if self.left else None

    def epoch(self, *_: object) -> bool:
        return False

    def failed(self, trial: str, *_: object) -> None:
        self.lost.append(trial)


CONFIG = TrialConfig(strategy="full", parameters={}, training=SETTINGS, seed=0)


HERE = {HOSTNAME: "here", PID: 1}


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was put into the object store: there is none."""
    contexts: list[object] = []

    def put(context: object) -> str:
        contexts.append(context)
        return f"ref {len(contexts)}"

    monkeypatch.setattr(searching_module.ray, "put", put)
    return contexts


def searching(*phases: Phase, concurrent: int = 2) -> LaneSearcher:
    return over((phase for phase in phases), concurrent)


def over(phases: Generator[Phase], concurrent: int = 2, events: Any = None) -> LaneSearcher:
    """The searcher of one sweep, whose first phase is there."""
    stop = StopRequest()
    found = LaneSearcher(iter([Lane(cast(Any, phases), events, stop)]), concurrent, stop)
    found.prepare()
    return found


def phase(*trials: str, last: bool = False, context: str = "search") -> Phase:
    return Phase(Source(*trials), cast(Any, context), len(trials), last)


def given(searcher: LaneSearcher, name: str) -> str | None:
    """The trial that Tune's trial of that name is to run; None: none for now."""
    suggestion = searcher.suggest(name)
    if isinstance(suggestion, dict):
        return str(suggestion["trial"])
    return suggestion


def started(searcher: LaneSearcher) -> None:
    """Both workers have started, and no longer idle."""
    for name in ("w1", "w2"):
        assert given(searcher, name) == f"idle-{name}"
        searcher.heard_of(("here", int(name[1])))
    assert not searcher.waits
    for name in ("w1", "w2"):
        searcher.on_trial_complete(name)


def test_no_trial_begins_before_all_workers_have_started():
    searcher = searching(phase("a", "b"))
    assert [given(searcher, name) for name in "123"] == ["idle-1", "idle-2", None]
    searcher.heard_of(("here", 1))
    assert searcher.waits
    searcher.heard_of(("here", 1))
    assert searcher.waits
    searcher.heard_of(("there", 1))
    assert not searcher.waits
    searcher.on_trial_complete("1")
    assert given(searcher, "4") == "a"


def test_a_worker_that_does_not_start_is_not_waited_for(monkeypatch):
    searcher = searching(phase("a", "b"))
    given(searcher, "1")
    searcher.heard_of(("here", 1))
    assert searcher.waits
    monkeypatch.setattr(searching_module, "START_SECONDS", 0.0)
    assert not searcher.waits
    searcher.on_trial_complete("1")
    assert given(searcher, "2") == "a"


def test_no_more_workers_start_than_the_first_phase_has_trials():
    searcher = searching(phase("a", "b"), concurrent=9)
    assert [given(searcher, name) for name in "123"] == ["idle-1", "idle-2", None]
    assert given(searching(phase("a"), concurrent=9), "1") == "a"


def test_the_next_phase_begins_when_the_trials_of_the_one_before_have_ended():
    searcher = searching(phase("a", "b"), phase("c", "d", last=True))
    started(searcher)
    assert [given(searcher, name) for name in "12"] == ["a", "b"]
    searcher.on_trial_complete("1")
    assert given(searcher, "3") == "idle-3" and searcher.waits
    assert given(searcher, "4") is None, "a worker more would start only to idle"
    searcher.on_trial_complete("2")
    assert not searcher.waits
    assert given(searcher, "5") == "c"
    assert not searcher.waits, "there is work for the idle one too"
    searcher.on_trial_complete("3")
    assert given(searcher, "6") == "d"
    assert given(searcher, "7") == Searcher.FINISHED


def test_workers_start_while_the_source_model_is_trained():
    source = replace(phase("source-0", context="source"), next_size=30)
    searcher = searching(source, phase("a", "b", "c"))
    assert [given(searcher, name) for name in "123"] == ["source-0", "idle-2", None]
    searcher.heard_of(("here", 1))
    searcher.heard_of(("here", 2))
    assert searcher.waits, "the second worker is kept for the search"
    searcher.on_trial_complete("1")
    assert given(searcher, "4") == "a" and not searcher.waits
    searcher.on_trial_complete("2")
    assert given(searcher, "5") == "b"


def test_no_more_workers_start_meanwhile_than_trials_follow():
    source = replace(phase("source-0", context="source"), next_size=1)
    searcher = searching(source, phase("a"), concurrent=9)
    assert [given(searcher, name) for name in "12"] == ["source-0", None]


def test_phases_are_made_one_after_the_other():
    begun = []

    def phases() -> Generator[Phase]:
        for name in "ab":
            begun.append(name)
            yield phase(name)

    searcher = over(phases())
    assert given(searcher, "1") == "a" and given(searcher, "2") is None and begun == ["a"]
    searcher.on_trial_complete("1")
    assert given(searcher, "3") == "b" and begun == ["a", "b"]
    searcher.on_trial_complete("3")
    assert given(searcher, "4") == Searcher.FINISHED


def test_a_phase_whose_trials_have_all_ended_is_passed_over():
    assert given(searching(phase(), phase("c")), "1") == "c"


def test_a_context_is_put_into_the_object_store_once(stored):
    searcher = searching(phase("a", "b"), phase("c"), phase("d", context="confirm"))
    started(searcher)
    for name in ("1", "2", "3", "4"):
        given(searcher, name)
        searcher.on_trial_complete(name)
    assert stored == ["search", "confirm"]


def test_after_a_request_to_stop_nothing_begins_and_nobody_waits():
    searcher = searching(phase("a", "b"), phase("c"))
    started(searcher)
    given(searcher, "1")
    searcher._stop.ask("Ctrl-C")
    assert given(searcher, "2") == Searcher.FINISHED and not searcher.waits


def test_a_failure_of_the_driver_between_phases_stops_the_run():
    def phases() -> Generator[Phase]:
        yield phase("a")
        raise OSError("the disk is full")

    searcher = over(phases())
    given(searcher, "1")
    searcher.on_trial_complete("1")
    assert given(searcher, "2") == Searcher.FINISHED
    assert str(searcher._stop.error) == "the disk is full"


def test_an_idle_worker_ends_when_there_is_work_and_its_loss_is_no_trials():
    first = phase("a", "b")
    searcher = searching(first, phase("c"))
    started(searcher)
    scheduler = _TrialSourceScheduler(searcher, searcher._stop)
    for name in "12":
        given(searcher, name)
    searcher.on_trial_complete("1")
    given(searcher, "3")
    idle = Trial("_", stub=True)
    idle.trial_id = "3"
    sent = {MESSAGE: None, **HERE}
    assert scheduler.on_trial_result(None, idle, sent) == TrialScheduler.CONTINUE
    searcher.on_trial_complete("2")
    assert scheduler.on_trial_result(None, idle, sent) == TrialScheduler.STOP
    scheduler.on_trial_error(None, idle)  # would be reported to the worker events
    searcher.on_trial_complete("3", error=True)
    assert cast(Source, first.source).lost == []


def drivers(*epochs: int | None) -> bool:
    """Whether the trial is tried again after these: an epoch that ended, or a lost worker."""
    searcher = searching(phase())
    scheduler = _TrialSourceScheduler(searcher, searcher._stop)
    trial = Trial("_", stub=True, max_failures=MAX_WORKER_FAILURES)
    lane = OpenLane(Lane(cast(Any, None), cast(Any, None), searcher._stop))
    searcher.trials[trial.trial_id] = Given("0001", cast(Any, Source()), lane)
    for epoch in epochs:
        if epoch is None:
            trial.run_metadata.num_failures += 1  # as Trial.handle_error
        else:
            scheduler.on_trial_result(None, trial, {MESSAGE: EpochMessage(epoch, {}), **HERE})
    assert searcher._stop.error is None
    return trial.should_recover()


LOST = (None,) * MAX_WORKER_FAILURES


def test_a_trial_that_gets_nowhere_is_given_up():
    assert drivers(*LOST)
    assert not drivers(*LOST, None)
    assert not drivers(1, *LOST, None)


def test_a_new_epoch_makes_up_for_lost_workers():
    assert drivers(*LOST, 1, *LOST, 2, *LOST)


def test_an_epoch_that_is_reported_again_does_not():
    assert not drivers(1, 2, *LOST, 2, None)


def test_tune_keeps_no_metric_and_no_file_of_a_trial():
    """It holds its trials to the end: a thousand of them would hold all that they sent."""
    trial = Trial("_", stub=True)
    own: dict[str, Any] = {TRAINING_ITERATION: 1, DONE: False, TRIAL_ID: trial.trial_id, PID: 7}
    sent = {MESSAGE: EpochMessage(1, {"val/loss": 0.5}, "n", files={"trace.json": b"x"})}
    result = {**own, **sent, "time_total_s": 3.0}
    assert not _ImmediateStopper(StopRequest())(trial.trial_id, result)
    trial.update_last_result(result)  # as the controller does next
    assert result == own
    assert set(trial.metric_n_steps) == {TRAINING_ITERATION, DONE}


def test_tune_finds_the_searchers_metric_in_what_a_worker_sends():
    """Tune refuses a result without it, and with that the whole phase."""
    searcher = searching(phase())
    scheduler = _TrialSourceScheduler(searcher, searcher._stop)
    controller = SimpleNamespace(
        _metric=None, _scheduler_alg=scheduler, _search_alg=SearchGenerator(searcher)
    )
    sent = {TRAINING_ITERATION: 1, MESSAGE: EpochMessage(1, {}), "pid": 7}
    TuneController._validate_result_metrics(controller, sent)
