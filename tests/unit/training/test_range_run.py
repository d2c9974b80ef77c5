"""A range test on a worker of the sweep gives what `raysel range` does."""

from __future__ import annotations

import pytest
from few_kit import several
from trial_kit import DATA, config, tiny, trial

from raysel.record.state import RANGE_SUGGESTED, TESTED_STEPS
from raysel.training import range_run
from raysel.training.range_run import RangeRun
from raysel.training.range_test import RangeTest, range_test
from raysel.training.worker_messages import (
    EnvironmentErrorMessage,
    EpochMessage,
    FailureMessage,
)


def gives(found: RangeTest | Exception):
    def test_of(*_: object) -> RangeTest:
        if isinstance(found, Exception):
            raise found
        return found

    return test_of


def test_it_says_what_the_test_found(monkeypatch):
    found = range_test(trial(config("full", epochs=9, batch_norm="eval"), tiny(dropout=0.0)), 20)
    monkeypatch.setattr(range_run, "range_test_of", gives(found))
    message = RangeRun(None, config("full"), 20).epoch()
    assert isinstance(message, EpochMessage)
    assert message.metrics == {TESTED_STEPS: 20.0, RANGE_SUGGESTED: found.suggested}
    assert len(DATA.train.labels) and found.suggested is not None


@pytest.mark.parametrize(
    ("found", "kind"),
    several(
        2,
        [
            (RangeTest((1e-6,), (1.0,), None, 1e-6), EpochMessage),
            (RuntimeError("broken"), FailureMessage),
            (OSError(28, "No space left on device"), EnvironmentErrorMessage),
        ],
    ),
)
def test_what_went_wrong_is_a_message(monkeypatch, found, kind):
    monkeypatch.setattr(range_run, "range_test_of", gives(found))
    message = RangeRun(None, config("full"), 20).epoch()
    assert isinstance(message, kind)
    if isinstance(message, EpochMessage):
        assert message.metrics == {TESTED_STEPS: 1.0}
