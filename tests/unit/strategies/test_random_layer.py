"""The blind control: uniform, independent, the same in every life of a trial."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from mask_kit import (
    moved_layers,
    net,
    parameters,
    trial,
)
from torch import Tensor

from raysel.models.layers import partition
from raysel.strategies import registered
from raysel.strategies.base import Step
from raysel.strategies.random_layer import random_layer

STEPS = 6000


def _chi_square(counts: Counter[int], cells: int) -> float:
    expected = sum(counts.values()) / cells
    return sum((counts[cell] - expected) ** 2 / expected for cell in range(cells))


@pytest.mark.parametrize("seeds", [(0, 0), (3, 0), (1000, 7)])
def test_every_layer_is_as_likely_and_each_step_is_its_own(seeds):
    drawn = [random_layer(6, number, *seeds) for number in range(1, STEPS + 1)]
    pairs = Counter(6 * first + second for first, second in pairwise(drawn))
    assert _chi_square(Counter(drawn), 6) < 25.7  # 99.99 % of chi-square with 5 degrees
    assert _chi_square(pairs, 36) < 75.0  # and with 35


def _weights(number: int, trial_seed: int = 0, **values: int) -> Tensor:
    strategy = registered()["random_layer"](partition(net()), values)
    return strategy.decide(_step(number, trial_seed)).weights


def _step(number: int, seed: int) -> Step:
    empty = torch.zeros(0, dtype=torch.float64)
    return Step(number, [], [], empty, empty.long(), 6, None, 0.0, seed=seed)


def test_exactly_one_layer_has_weight_one():
    for number in range(1, 50):
        weights = _weights(number)
        assert weights.dtype == torch.float32
        assert sorted(weights.tolist()) == [0, 0, 0, 0, 0, 1]


def test_the_choice_is_a_function_of_both_seeds_and_the_step():
    def sequence(**seeds: int) -> list[int]:
        return [int(_weights(number, **seeds).argmax()) for number in range(1, 16)]

    assert sequence() == sequence()
    assert sequence() != sequence(seed=1)
    assert sequence() != sequence(trial_seed=1)
    assert sequence(seed=1) != sequence(trial_seed=1)


def test_no_other_random_number_changes():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]
    python_state = random.getstate()
    _weights(3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert random.getstate() == python_state


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_one_layer_moves_at_a_step(optimizer):
    run = trial("random_layer", epochs=8, batch_size=16, optimizer=optimizer, weight_decay=0.1)
    seen = set()
    for _ in range(8):
        before = parameters(run)
        run.run_epoch()  # one step
        (layer,) = moved_layers(before, parameters(run))
        seen.add(layer)
    assert len(seen) > 1


def test_the_trials_seed_changes_the_layers():
    """Confirm runs of a control must differ in what they drew, not in the data's order alone."""

    def drawn(seed: int) -> list[set[str]]:
        run, layers = trial("random_layer", seed=seed, epochs=6, batch_size=16), []
        for _ in range(6):
            before = parameters(run)
            run.run_epoch()  # one step
            layers.append(moved_layers(before, parameters(run)))
        return layers

    assert drawn(1000) == drawn(1000)
    assert drawn(1000) != drawn(1001)


def test_batch_norm_is_declared():
    assert registered()["random_layer"].batch_norm == "train"
