"""A trial of few shots trains on them alone, and on nothing else than they."""

from pathlib import Path

import numpy as np
import pytest
import torch
from trial_kit import config

from raysel.models.build import Blueprint, build
from raysel.models.layers import partition_of
from raysel.spec import ObjectiveSpec
from raysel.tasks.data import Examples
from raysel.training.trial import Shared, TrialSteps


def examples(count: int, seed: int) -> Examples:
    """Each image holds its own number in every pixel."""
    images = np.ones((count, 1, 16, 16), np.float32) * np.arange(count).reshape(-1, 1, 1, 1)
    return Examples((images + seed).astype(np.float32), np.arange(count) % 4)


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    blueprint = Blueprint("test_resnet", 4, 1, (16, 16))
    weights = {n: t.numpy() for n, t in build(blueprint, 0).state_dict().items()}
    return Shared(
        blueprint=blueprint,
        partition=partition_of("test_resnet", "coarse", 4, channels=1),
        weights=weights,
        train=examples(40, 0),
        validation=examples(20, 100),
        source=None,
        test=None,
        mean=(0.0,),
        std=(1.0,),
        objective=ObjectiveSpec(),
        keep_best=False,
        trace_every=1,
        threads=torch.get_num_threads(),
        folder=tmp_path,
    )


def seen(shared: Shared, shots: int | None) -> tuple[int, set[float], set[int]]:
    """Steps of the first epoch, the images that it trained on, the validation's size."""
    steps = TrialSteps(shared)
    steps.begin(f"shots-{shots}", config("full", epochs=1, batch_size=8, shots=shots))
    row = steps.epoch()
    assert "failure" not in row, row
    assert steps.run is not None
    data = steps.run.data
    numbers = {float(image[0, 0, 0]) for image in data.train.part(slice(0, 40)).images}
    return steps.run.step, numbers, {len(data.validation)}


def test_a_trial_sees_its_shots_and_another_in_the_same_process_its_own(shared):
    whole, few, fewer = (seen(shared, shots) for shots in (None, 4, 2))
    assert [one[0] for one in (whole, few, fewer)] == [5, 2, 1]
    assert fewer[1] < few[1] < whole[1]
    assert sorted(int(number) % 4 for number in fewer[1]) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert whole[2] == few[2] == fewer[2] == {20}
