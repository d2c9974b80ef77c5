"""The test curve of a confirm run: measured where it is asked for, and nothing depends on it."""

import pytest
from shared_kit import examples, shared
from trial_kit import config, without_seconds

from raysel.training.trial import TrialRun
from raysel.training.trial_worker import TrialWorker

EPOCHS = 3


def rows(folder, **changes):
    worker = TrialWorker(shared(folder, test=examples(24, 7), keep_best=True, **changes))
    steps = TrialRun(worker, "confirm-full-s0", config("full", epochs=EPOCHS, batch_size=8))
    return [steps.epoch().metrics for _ in range(EPOCHS)]


@pytest.mark.slow
def test_every_epoch_is_tested_where_it_is_asked_for_and_changes_nothing(tmp_path):
    plain = rows(tmp_path / "plain")
    curve = rows(tmp_path / "curve", test_every_epoch=True)
    assert not any(name.startswith("test_curve/") for row in plain for name in row)
    assert all({"test_curve/error", "test_curve/loss"} <= row.keys() for row in curve)
    for without, row in zip(plain, curve, strict=True):
        rest = {n: v for n, v in row.items() if not n.startswith("test_curve/")}
        assert without_seconds(rest) == without_seconds(without)


def test_the_curve_goes_through_the_error_that_is_reported_at_the_end(tmp_path):
    curve = rows(tmp_path, test_every_epoch=True)
    chosen = int(curve[-1]["confirm/epoch"])
    for name in ("error", "loss"):
        reported = curve[-1][f"test/{name}"]
        assert curve[chosen - 1][f"test_curve/{name}"] == pytest.approx(reported, rel=1e-6)


def test_without_the_test_part_there_is_no_curve(tmp_path):
    worker = TrialWorker(shared(tmp_path, test_every_epoch=True))
    steps = TrialRun(worker, "0000", config("full", epochs=1, batch_size=8))
    assert not any("test" in name for name in steps.epoch().metrics)
