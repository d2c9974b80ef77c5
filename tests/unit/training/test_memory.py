"""Too little memory: once again with half the batch, from where the trial stood."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from trial_kit import config, differences, without_seconds
from trial_strategies import registered_for_a_test

from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition_of
from raysel.record.failure_kind import FailureKind
from raysel.spec.sweep import ObjectiveSpec
from raysel.spec.trial_config import TrialConfig
from raysel.strategies.base import Decision, Step, Strategy
from raysel.sweep import local_trial
from raysel.tasks.data import Examples
from raysel.training import checkpoint, failures, trial
from raysel.training.trial import TrialRun
from raysel.training.trial_worker import PhaseContext, TrialWorker
from raysel.training.worker_messages import EpochMessage, FailureMessage, WorkerMessage

EPOCHS = 4


class Greedy(Strategy):
    """Needs more memory than there is, at a batch above `largest` from `since` on."""

    name = "greedy"
    summary = "needs much memory"
    paper = "a test"
    largest: ClassVar[int] = 10
    since: ClassVar[int] = 1
    held: ClassVar[list[weakref.ref[Tensor]]] = []

    def __init__(self, partition: Any, values: Any) -> None:
        super().__init__(partition, values)
        self.epoch = 0

    def epoch_start(self, epoch: int, epochs: int, probe: Any) -> None:
        assert all(tensor() is None for tensor in self.held), "what it held was not given back"
        self.epoch = epoch
        if epoch >= self.since and len(probe.batches("target", 1)[0]) > self.largest:
            large = torch.zeros(1000)
            self.held.append(weakref.ref(large))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    def decide(self, step: Step) -> Decision:
        return Decision(torch.ones(step.layer_count))


@pytest.fixture(autouse=True)
def greedy(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Greedy]]:
    monkeypatch.setattr(Greedy, "held", [])
    threads = torch.get_num_threads()
    with registered_for_a_test(Greedy):
        yield Greedy
    torch.set_num_threads(threads)


def examples(count: int, seed: int) -> Examples:
    random = np.random.default_rng(seed)
    images = random.random((count, 1, 16, 16), dtype=np.float32)
    return Examples(images, np.arange(count) % 4)


def shared(folder: Path) -> PhaseContext:
    model_config = ModelConfig("test_resnet", 4, 1, (16, 16))
    weights = {n: t.numpy() for n, t in build(model_config, 0).state_dict().items()}
    return PhaseContext(
        model_config=model_config,
        partition=partition_of("test_resnet", "coarse", 4, channels=1),
        weights=weights,
        train=examples(40, 1),
        validation=examples(20, 2),
        source=None,
        test=None,
        mean=(0.5,),
        std=(0.25,),
        objective=ObjectiveSpec(),
        keep_best=False,
        trace_every=1,
        threads=1,
        folder=folder,
    )


def asked(batch: int = 20) -> TrialConfig:
    return config("greedy", epochs=EPOCHS, batch_size=batch)


def begun(folder: Path, chosen: TrialConfig, reported: int = 0) -> TrialRun:
    return TrialRun(TrialWorker(shared(folder)), "0000", chosen, reported)


def rows(steps: TrialRun, count: int = EPOCHS) -> list[EpochMessage]:
    """Epochs without their seconds."""
    return [timeless(steps.epoch()) for _ in range(count)]


def timeless(message: WorkerMessage) -> EpochMessage:
    assert isinstance(message, EpochMessage)
    return replace(message, metrics=without_seconds(message.metrics))


def plain(message: EpochMessage) -> EpochMessage:
    """As one without an incident."""
    return replace(message, note=None, halved_at_epoch=None)


@pytest.mark.slow
def test_again_with_half_the_batch_and_twice_the_accumulation_and_a_note(tmp_path: Path) -> None:
    steps = begun(tmp_path / "a", asked())
    first, *later = rows(steps)
    assert first.note == "out of memory at batch 20 in epoch 1; again with 10 × 2"
    assert first.halved_at_epoch == 1
    assert [plain(row) for row in later] == later
    settings = steps.config.training
    assert (settings.batch_size, settings.gradient_accumulation_steps) == (10, 2)
    # what a trial does that was asked for just this
    halved = failures.halved(asked())
    assert halved is not None
    assert [plain(first), *later] == rows(begun(tmp_path / "b", halved))


@pytest.mark.slow
def test_what_the_first_try_held_is_given_back_before_the_second(tmp_path: Path) -> None:
    rows(begun(tmp_path, asked()), 1)  # `Greedy.epoch_start` looks
    assert len(Greedy.held) == 1


@pytest.mark.slow
def test_it_goes_on_from_the_epoch_before_and_no_epoch_is_reported_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Greedy, "since", 3)
    steps = begun(tmp_path / "a", asked())
    found = rows(steps)
    assert [row.epoch for row in found] == [1, 2, 3, 4]
    assert found[2].note == "out of memory at batch 20 in epoch 3; again with 10 × 2"
    assert found[2].halved_at_epoch == 3
    monkeypatch.setattr(Greedy, "largest", 20)
    assert found[:2] == rows(begun(tmp_path / "b", asked()), 2)
    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", 0.0)  # then none of them runs twice
    monkeypatch.setattr(Greedy, "largest", 10)
    assert rows(begun(tmp_path / "d", asked())) == found
    monkeypatch.setattr(Greedy, "largest", 20)
    # run again from its record, as `raysel reproduce` does
    run = local_trial.run(shared(tmp_path / "c"), "0000", asked(), halved_at_epoch=3)
    again = [timeless(message) for message, _ in run if isinstance(message, EpochMessage)]
    assert again[2].note
    assert [plain(row) for row in again] == [plain(row) for row in found]


def test_a_trial_killed_after_it_was_halved_goes_on_with_the_halved_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", 0.0)
    whole = begun(tmp_path / "a", asked())
    expected = rows(whole)
    rows(begun(tmp_path / "b", asked()), 2)  # its process is gone
    again = begun(tmp_path / "b", asked(), reported=2)
    assert rows(again, 3) == expected[1:]  # the last one reported once more, in case it was lost
    assert again.config == whole.config
    states = [checkpoint.InFolder(tmp_path / name / "trials" / "0000").newest()[0] for name in "ab"]
    for state in states:
        assert state is not None
        for row in state["rows"]:
            row["metrics"].pop("cost/seconds", None)
    assert differences(*states) == []


@pytest.mark.slow
def test_the_epoch_of_the_halving_has_a_checkpoint(tmp_path: Path) -> None:
    rows(begun(tmp_path, asked()), 1)  # its process is gone
    again = begun(tmp_path, asked(), reported=1)
    assert rows(again, 2)[1].halved_at_epoch is None, "it is not halved a second time"
    assert again.config.training.batch_size == 10


@pytest.mark.slow
def test_half_the_batch_that_is_too_much_as_well_fails_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Greedy, "largest", 5)
    row = begun(tmp_path, asked()).epoch()
    assert isinstance(row, FailureMessage) and row.kind is FailureKind.ERROR
    assert row.cause.startswith("OutOfMemoryError: CUDA out of memory")
    assert len(Greedy.held) == 2


def test_a_batch_of_one_cannot_be_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Greedy, "largest", 0)
    message = begun(tmp_path, asked(batch=1)).epoch()
    assert isinstance(message, FailureMessage) and "OutOfMemoryError" in message.cause


@pytest.mark.slow
def test_the_next_trial_of_the_process_has_its_whole_batch_again(tmp_path: Path) -> None:
    worker = TrialWorker(shared(tmp_path))
    rows(TrialRun(worker, "0000", asked()), 1)
    steps = TrialRun(worker, "0001", config("full", epochs=1, batch_size=20))
    message = timeless(steps.epoch())
    assert message == plain(message)
    assert steps.config.training.batch_size == 20
