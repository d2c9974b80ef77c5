"""When a trial that loses its workers is given up, and what Tune keeps of one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.result import DONE, PID, TRAINING_ITERATION, TRIAL_ID
from ray.tune.search import SearchGenerator

from raysel.engine.tune import (
    MAX_WORKER_FAILURES,
    MESSAGE,
    StopRequest,
    _ImmediateStopper,
    _TrialSourceScheduler,
    _TrialSourceSearcher,
)
from raysel.training.worker_messages import EpochMessage


class WorkerLog:
    """A trial source that ends nothing, and worker events that are dropped."""

    def epoch(self, *_: object) -> bool:
        return False


def drivers(*epochs: int | None) -> bool:
    """Whether the trial is tried again after these: an epoch that ended, or a lost worker."""
    reported, stop = cast(Any, WorkerLog()), StopRequest()
    searcher = _TrialSourceSearcher(reported, stop)
    scheduler = _TrialSourceScheduler(reported, searcher, reported, stop)
    trial = Trial("_", stub=True, max_failures=MAX_WORKER_FAILURES)
    searcher.trials[trial.trial_id] = "0001"
    for epoch in epochs:
        if epoch is None:
            trial.run_metadata.num_failures += 1  # as Trial.handle_error
        else:
            scheduler.on_trial_result(None, trial, {MESSAGE: EpochMessage(epoch, {})})
    assert stop.error is None
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
    reported, stop = cast(Any, WorkerLog()), StopRequest()
    searcher = _TrialSourceSearcher(reported, stop)
    scheduler = _TrialSourceScheduler(reported, searcher, reported, stop)
    controller = SimpleNamespace(
        _metric=None, _scheduler_alg=scheduler, _search_alg=SearchGenerator(searcher)
    )
    sent = {TRAINING_ITERATION: 1, MESSAGE: EpochMessage(1, {}), "pid": 7}
    TuneController._validate_result_metrics(controller, sent)
