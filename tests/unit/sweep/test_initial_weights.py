"""Which source models are trained, what is reported meanwhile, and how their trainings end."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from source_kit import BLUEPRINT, TASK, how

from raysel.common.errors import OperationalError, user_error
from raysel.engine.trial_source import SourceAssignment
from raysel.record.failure_kind import FailureKind
from raysel.sweep import initial_weights
from raysel.sweep.initial_weights import SourceModels
from raysel.training.source_model import source_model
from raysel.training.source_run import (
    SourceContext,
    SourceErrorMessage,
    SourceModelMessage,
    SourceProgressMessage,
)


@pytest.fixture
def three(tmp_path, monkeypatch) -> SourceModels:
    return models(tmp_path, monkeypatch)


def models(tmp_path, monkeypatch, progress: Any = None, gate: float | None = None) -> SourceModels:
    spec = SimpleNamespace(
        name="digits",
        storage="runs",
        source=SimpleNamespace(gate=gate),
        confirm=SimpleNamespace(source_seeds=3),
        resources=SimpleNamespace(gpus=0),
    )
    inputs = SimpleNamespace(
        spec=spec, task=TASK, model_config=BLUEPRINT, code=(), label="", seeded=lambda index: index
    )
    monkeypatch.setattr(initial_weights, "source_training", lambda index: how(seed=index, epochs=1))
    return SourceModels(cast(Any, inputs), tmp_path, progress or MagicMock())


def trained(tmp_path, seed: int):
    return source_model(TASK, BLUEPRINT, how(seed=seed, epochs=1), tmp_path)


def test_what_is_cached_is_not_trained_again(tmp_path, monkeypatch):
    kept = trained(tmp_path, 1)
    source = models(tmp_path, monkeypatch)
    phase = source.phase(30)
    assert phase is not None and (phase.size, phase.next_size) == (2, 30)
    assert [source.next_trial() for _ in range(3)] == [
        SourceAssignment("source-0", 0),
        SourceAssignment("source-2", 2),
        None,
    ]
    for index in (2, 0):
        message = SourceModelMessage(trained(tmp_path / "worker", index))
        assert source.epoch(f"source-{index}", message)
    first, second, third = source.models
    assert second.weights.keys() == kept.weights.keys()
    assert all((second.weights[name] == t).all() for name, t in kept.weights.items())
    assert any((first.weights[name] != t).any() for name, t in third.weights.items())
    assert models(tmp_path, monkeypatch).phase(30) is None, "the driver's disk has all of them now"


def test_the_test_part_is_not_in_the_context(three):
    context = three.phase(30).context
    assert isinstance(context, SourceContext) and context.task.test is None
    assert [training.seed for training in context.trainings] == [0, 1, 2]


def test_progress_is_that_of_all_trainings(tmp_path, monkeypatch):
    progress = MagicMock()
    source = models(tmp_path, monkeypatch, progress)
    source.phase(30)
    assert not source.epoch("source-0", SourceProgressMessage(0, 0))
    progress.assert_not_called()
    assert not source.epoch("source-0", SourceProgressMessage(10, 40))
    progress.assert_called_with(10, 120)
    assert not source.epoch("source-2", SourceProgressMessage(4, 40))
    progress.assert_called_with(14, 120)
    source.epoch("source-0", SourceModelMessage(trained(tmp_path / "worker", 0)))
    assert not source.epoch("source-2", SourceProgressMessage(8, 40))
    progress.assert_called_with(48, 120)


def test_the_error_of_a_training_is_raised(three):
    three.phase(30)
    error = user_error("model.name", "it cannot be built")
    with pytest.raises(type(error)) as caught:
        three.epoch("source-0", SourceErrorMessage(error))
    assert caught.value is error


def test_a_weak_model_ends_the_sweep_before_the_others_are_trained(tmp_path, monkeypatch):
    source = models(tmp_path, monkeypatch, gate=0.75)
    source.phase(30)
    assert source.next_trial() == SourceAssignment("source-0", 0)
    weak = replace(trained(tmp_path / "worker", 0), accuracy=0.74)
    with pytest.raises(OperationalError, match=r"source.gate: .*74.0 % validation accuracy"):
        source.epoch("source-0", SourceModelMessage(weak))
    left = models(tmp_path, monkeypatch)
    assert left.missing == source.missing and len(left.missing) == 2, "it is kept for a lower gate"


def test_a_weak_model_that_is_cached_ends_the_sweep_before_another_is_trained(
    tmp_path, monkeypatch
):
    kept = trained(tmp_path, 1)
    source = models(tmp_path, monkeypatch, gate=kept.accuracy + 0.01)
    with pytest.raises(OperationalError, match=r"source.gate: .*% validation accuracy"):
        source.phase(30)
    for seed in (0, 2):
        trained(tmp_path, seed)
    with pytest.raises(OperationalError, match=r"source.gate"):
        models(tmp_path, monkeypatch, gate=0.9999).phase(30)


def test_a_training_whose_worker_is_lost_again_and_again_ends_the_sweep(three):
    with pytest.raises(OperationalError, match="worker lost: killed"):
        three.failed("source-0", FailureKind.WORKER_LOST, "worker lost: killed")
