"""The training of a source model on a worker: the model of `source_model`, watched from outside."""

from __future__ import annotations

import pytest
import torch
from source_kit import BLUEPRINT, TASK, how

from raysel.common.errors import UserError, user_error
from raysel.training import source_run
from raysel.training.source_model import source_model
from raysel.training.source_run import (
    SourceContext,
    SourceErrorMessage,
    SourceModelMessage,
    SourceProgressMessage,
    SourceRun,
)


def run_of(tmp_path, index: int = 0, **given: object) -> SourceRun:
    trainings = (how(**given), how(seed=1, **given))
    return SourceRun(SourceContext(TASK, BLUEPRINT, trainings, tmp_path / "cache"), index)


def messages(run: SourceRun) -> list[object]:
    found: list[object] = [run.epoch()]
    while isinstance(found[-1], SourceProgressMessage):
        found.append(run.epoch())
    return found


@pytest.mark.parametrize("index", [0, 1])
def test_it_is_the_model_of_its_number_bit_for_bit(tmp_path, index):
    last = messages(run_of(tmp_path, index, epochs=2))[-1]
    assert isinstance(last, SourceModelMessage)
    wanted = source_model(TASK, BLUEPRINT, how(seed=index, epochs=2), tmp_path / "other")
    assert last.model.accuracy == wanted.accuracy
    assert all(torch.equal(t, wanted.weights[name]) for name, t in last.model.weights.items())


def test_it_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(source_run, "REPORT_SECONDS", 0.01)
    *progress, last = messages(run_of(tmp_path, epochs=20))
    assert isinstance(last, SourceModelMessage)
    done = [message.done for message in progress if isinstance(message, SourceProgressMessage)]
    assert len(done) > 3 and done == sorted(done) and done[-1] > 0
    totals = {m.total for m in progress if isinstance(m, SourceProgressMessage)} - {0}
    assert len(totals) == 1 and done[-1] <= totals.pop()


@pytest.mark.parametrize(
    "error", [user_error("model.name", "it cannot be built"), ValueError("no"), SystemExit(3)]
)
def test_whatever_it_raises_is_a_message(tmp_path, monkeypatch, error):
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(source_run, "source_model", refuse)
    (message,) = messages(run_of(tmp_path))
    assert isinstance(message, SourceErrorMessage)
    assert message.error is error or "3" in str(message.error)
    assert isinstance(message.error, UserError) == isinstance(error, UserError)
