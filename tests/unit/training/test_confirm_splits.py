"""A trial of the confirm phase trains on its own split and from its own source model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shared_kit import shared
from trial_kit import config

from raysel.tasks.data import DrawnSplit
from raysel.training.trial import TrialRun
from raysel.training.trial_worker import PhaseContext, TrialWorker


@pytest.fixture
def context(tmp_path) -> PhaseContext:
    plain = shared(tmp_path)
    halves = [DrawnSplit(plain.validation, plain.train), DrawnSplit(plain.train, plain.validation)]
    other = {name: array + 1 for name, array in plain.weights.items()}
    return replace(plain, draws=tuple(halves), more_weights=(other,))


def on(worker: TrialWorker, split: int, source_seed: int = 0) -> TrialRun:
    chosen = config("full", epochs=1, batch_size=8)
    chosen = chosen.model_copy(update={"split": split, "source_seed": source_seed})
    run = TrialRun(worker, f"s{split}-{source_seed}", chosen)
    run.epoch()
    return run


def test_each_split_has_its_own_training_and_validation_part(context):
    worker = TrialWorker(context)
    sizes = []
    for split in (0, 1, 2, 1):
        tuning = on(worker, split).tuning
        assert tuning is not None
        sizes.append((len(tuning.data.train), len(tuning.data.validation)))
    own = (len(context.train), len(context.validation))
    assert own[0] != own[1]
    assert sizes == [own, own[::-1], own, own[::-1]]


def test_the_initial_weights_are_those_of_the_trials_source_model(context):
    worker = TrialWorker(context)
    for source_seed, added in ((0, 0), (1, 1)):
        chosen = config("full").model_copy(update={"source_seed": source_seed})
        state = worker.model(chosen).state_dict()
        for name, array in context.weights.items():
            np.testing.assert_array_equal(state[name].numpy(), array + added)
