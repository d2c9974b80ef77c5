"""Then and now: what a reproduction is held to, and the first number that is another."""

import math
from dataclasses import replace

import pytest
from view_kit import ended, epoch, make, started

from raysel.record.failure_kind import FailureKind
from raysel.record.state import TrialState
from raysel.spec.sweep import TrainingSettings
from raysel.spec.trial_config import TrialConfig
from raysel.sweep.reproduce import (
    DIFFERENT,
    IDENTICAL,
    WITHIN,
    compared,
    machine_differences,
)
from raysel.sweep.views import read_sweep
from raysel.training import environment
from raysel.training.trial import MACHINE
from raysel.training.worker_messages import EpochMessage, FailureMessage

SETTINGS = {
    **{"epochs": 2, "batch_size": 8, "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    **{"weight_decay": 0.0, "schedule": "constant", "warmup_epochs": 0.0, "batch_norm": "train"},
    **{
        "precision": "float32",
        "clip_norm": None,
        "gradient_accumulation_steps": 1,
        "deterministic": False,
    },
}
CONFIG = TrialConfig(
    strategy="full",
    parameters={},
    training=TrainingSettings.model_validate(SETTINGS),
    seed=0,
)


@pytest.fixture
def view(tmp_path):
    make(tmp_path, "a", started("0000", 0), epoch("0000", 1, 0.5), ended("0000", "COMPLETE", 0.5))
    return read_sweep(str(tmp_path), "a")


def trial(
    *errors: float | None,
    status: str = "COMPLETE",
    cause: str | None = None,
    failure: FailureKind | None = None,
    **ends: float,
):
    epochs = tuple(
        {"epoch": i, "val/error": e, "cost/seconds": 1.0} for i, e in enumerate(errors, 1)
    )
    return TrialState(
        "0000",
        config=CONFIG.model_dump(mode="json"),
        epochs=epochs,
        status=status,
        cause=cause,
        failure=failure,
        end_metrics={name.replace("_", "/"): value for name, value in ends.items()},
    )


def rows(*errors: float, **ends: float):
    """What a worker reports; the last message brings the end metrics."""
    listed = [
        EpochMessage(i, {"val/error": e, "cost/seconds": 2.0}) for i, e in enumerate(errors, 1)
    ]
    listed[-1].metrics.update({name.replace("_", "/"): value for name, value in ends.items()})
    return listed


def failure(cause: str):
    return FailureMessage(1, FailureKind.DIVERGED, cause)


def test_the_same_numbers_are_identical_whatever_the_clock_says(view):
    found = compared(view, trial(0.5, 0.25), rows(0.5, 0.25), 0.0)
    assert (found.outcome, found.epochs, found.first) == (IDENTICAL, 2, None)
    assert found.succeeded


def test_what_an_older_record_lacks_is_no_difference(view):
    now = rows(0.5, test_error=0.25)
    now[-1].metrics.update({"confirm/source_error": 0.1, "confirm/distance/stem": 0.2})
    now[-1].metrics["cost/peak_memory_bytes"] = 1e9
    assert compared(view, trial(0.5, test_error=0.25), now, 0.0).outcome == IDENTICAL
    ends = {"test/error": 0.25, "confirm/source_error": 0.2}
    measured = replace(trial(0.5), end_metrics=ends)
    assert compared(view, measured, now, 0.0).first.metric == "confirm/source_error"


def test_the_first_other_number_is_reported_with_both_values(view):
    found = compared(view, trial(0.5, 0.25, 0.125), rows(0.5, 0.25 + 1e-12, 0.5), 0.0)
    assert found.outcome == DIFFERENT and not found.succeeded
    assert (found.first.epoch, found.first.metric) == (2, "val/error")
    assert "epoch 2, val/error: 0.25 in the record, 0.250000000001 now" in str(found)


def test_a_tolerance_is_relative_for_large_numbers_and_absolute_for_small_ones(view):
    assert compared(view, trial(0.5), rows(0.509), 0.01).outcome == WITHIN
    assert compared(view, trial(0.5), rows(0.511), 0.01).outcome == DIFFERENT
    assert compared(view, trial(500.0), rows(504.0), 0.01).outcome == WITHIN


def test_beyond_the_tolerance_the_number_reported_is_the_one_that_is_beyond(view):
    found = compared(view, trial(0.5, 0.25), rows(0.501, 0.75), 0.01)
    assert found.first.epoch == 2 and found.largest == pytest.approx(0.5)


def test_what_was_not_finite_is_compared_as_the_record_keeps_it(view):
    assert compared(view, trial(None), rows(math.nan), 0.0).outcome == IDENTICAL
    assert compared(view, trial(0.5), rows(math.nan), 1.0).outcome == DIFFERENT


def test_test_metrics_of_a_confirm_run_are_compared_too(view):
    run = trial(0.5, test_error=0.25)
    assert compared(view, run, rows(0.5, test_error=0.25), 0.0).outcome == IDENTICAL
    found = compared(view, run, rows(0.5, test_error=0.5), 0.0)
    assert str(found.first) == "at the end, test/error: 0.25 in the record, 0.5 now"


def test_a_metric_that_one_of_them_lacks_is_a_difference(view):
    more = rows(0.5)
    more[0].metrics["val/loss"] = 1.0
    assert "val/loss: missing in the record" in str(compared(view, trial(0.5), more, 0.0))


def test_a_failure_must_be_the_same_failure(view):
    failed = trial(0.5, status="FAILED", cause="diverged: x", failure=FailureKind.DIVERGED)
    again = [*rows(0.5), failure("diverged: x")]
    assert compared(view, failed, again, 0.0).outcome == IDENTICAL
    assert compared(view, failed, rows(0.5, 0.25), 0.0).outcome == DIFFERENT
    other = [*rows(0.5), failure("diverged: y")]
    assert compared(view, failed, other, 0.0).outcome == DIFFERENT


def test_a_trial_that_now_fails_is_different(view):
    found = compared(view, trial(0.5, 0.25), [*rows(0.5), failure("boom")], 1.0)
    assert found.outcome == DIFFERENT and "boom" in str(found)


@pytest.mark.parametrize(
    "kind", [FailureKind.WORKER_LOST, FailureKind.NOT_FINITE, FailureKind.CLOSED]
)
def test_an_end_that_others_gave_it_is_no_failure_of_the_trial(view, kind):
    given = trial(0.5, status="FAILED", cause="x", failure=kind)
    assert compared(view, given, rows(0.5), 0.0).outcome == IDENTICAL


def test_another_machine_is_reported_fact_by_fact(view):
    (state,) = view.trials
    folder = view.folder.trial(state.id)
    folder.mkdir(parents=True)
    cpu = environment.torch.device("cpu")
    environment.note(folder / MACHINE, cpu)
    noted = (folder / MACHINE).read_text()
    threads = environment.read(folder / MACHINE)[0]["threads"]
    (folder / MACHINE).write_text(noted.replace(f'"threads": "{threads}"', '"threads": "64"'))
    assert machine_differences(view, state) == {"threads": ("64", "1")}


def test_a_range_test_is_held_to_what_it_found(view):
    tested = replace(trial(range_steps=12.0, range_suggested=0.25), phase="range")
    again = [EpochMessage(1, {"range/steps": 12.0, "range/suggested": 0.25})]
    found = compared(view, tested, again, 0.0)
    assert (found.outcome, str(found)) == (
        IDENTICAL,
        "identical: what the test found, every number",
    )
    other = [EpochMessage(1, {"range/steps": 12.0})]
    assert str(compared(view, tested, other, 0.0)) == (
        "different: at the end, range/suggested: 0.25 in the record, missing now"
    )
    assert "boom" in str(compared(view, tested, [failure("boom")], 0.0))
