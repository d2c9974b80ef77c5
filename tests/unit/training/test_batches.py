"""Batches: normalised once, shuffled by (seed, epoch), none lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import WeightedRandomSampler
from trial_kit import batch

from raysel.tasks.data import Examples
from raysel.training.batches import (
    Batch,
    balanced_draws,
    batches_per_epoch,
    epoch_batches,
    epoch_order,
    numbered_copies,
    seed_of,
    seeded,
    to_device,
)

CPU = torch.device("cpu")


def _numbered(count: int) -> Batch:
    numbers = torch.arange(count)
    return Batch(numbers.float().reshape(-1, 1, 1, 1), numbers)


def _labels(count: int, size: int, seed: int = 0, epoch: int = 1) -> list[list[int]]:
    return [b.labels.tolist() for b in epoch_batches(_numbered(count), size, seed, epoch)]


def test_images_are_normalised_by_channel_and_labels_kept():
    images = np.random.default_rng(0).random((5, 2, 3, 3), dtype=np.float32)
    labels = np.array([3, 1, 2, 0, 1])
    mean, std = (0.2, 0.7), (0.5, 2.0)
    data = to_device(Examples(images, labels), mean, std, CPU)
    expected = np.stack(
        [(images[:, c] - np.float32(mean[c])) / np.float32(std[c]) for c in range(2)], axis=1
    )
    assert data.images.dtype == torch.float32 and data.labels.dtype == torch.int64
    np.testing.assert_allclose(data.images.numpy(), expected, rtol=1e-6, atol=1e-7)
    assert data.labels.tolist() == labels.tolist()


def test_the_examples_in_the_object_store_stay_as_they_are():
    images, labels = np.ones((2, 1, 2, 2), dtype=np.float32), np.array([0, 1])
    data = to_device(Examples(images, labels), (0.0,), (1.0,), CPU)
    data.images.zero_()
    data.labels.zero_()
    assert images.sum() == 8 and labels.tolist() == [0, 1]


@pytest.mark.parametrize(("count", "size"), [(40, 8), (41, 8), (47, 8), (5, 8), (8, 8), (1, 8)])
def test_an_epoch_sees_every_example_once_but_a_last_one_alone(count, size):
    batches = _labels(count, size)
    seen = [label for batch in batches for label in batch]
    alone = count % size == 1 and count > 1  # batch norm cannot take it
    assert len(seen) == len(set(seen)) == count - alone
    assert all(len(b) == size for b in batches[:-1])
    assert len(batches) == batches_per_epoch(count, size)


def test_batches_of_one_image_are_all_of_the_examples():
    assert sorted(_labels(6, 1)) == [[0], [1], [2], [3], [4], [5]]
    assert batches_per_epoch(6, 1) == 6


def test_image_and_label_stay_together():
    for part in epoch_batches(_numbered(23), 4, 0, 1):
        assert part.images.ravel().tolist() == part.labels.tolist()


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    orders = {(s, e): _labels(40, 8, s, e) for s in (0, 1, 2**40) for e in (1, 2, 3)}
    assert len({str(order) for order in orders.values()}) == 9
    torch.manual_seed(123)
    assert {key: _labels(40, 8, *key) for key in reversed(orders)} == orders
    assert epoch_order(40, 0, 1).tolist() == [n for batch in orders[0, 1] for n in batch]


def test_neighbouring_trials_and_purposes_share_no_seed():
    seeds = [seed_of(s, e, p) for s in range(20) for e in range(1, 20) for p in (1, 2)]
    seeds += [seed_of(s, e) for s in range(20) for e in range(1, 20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_random_numbers_come_from_the_seed_and_the_callers_are_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    with seeded(7, CPU):
        first = torch.randn(3)
    with pytest.raises(KeyError), seeded(7, CPU):
        second = torch.randn(3)
        raise KeyError
    with seeded(8, CPU):
        other = torch.randn(3)
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_split_keeps_the_order_and_loses_nothing():
    data = batch(10, seed=0)
    parts = data.split(4)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert torch.equal(torch.cat([part.images for part in parts]), data.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), data.labels)


# --- balanced -------------------------------------------------------------------------------------


def test_balanced_draws_are_those_of_torchs_weighted_sampler():
    labels = torch.tensor([0] * 30 + [2] * 6 + [3] * 4)  # of class 1 there is none
    counts = torch.bincount(labels).double()
    generator = torch.Generator().manual_seed(seed_of(7, 3))
    sampler = WeightedRandomSampler((1 / counts)[labels], 40, generator=generator)
    assert balanced_draws(labels, 7, 3).tolist() == list(sampler)


def test_a_balanced_epoch_has_as_many_examples_and_each_class_as_often():
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    data = Batch(torch.arange(1000.0).reshape(-1, 1, 1, 1), labels)
    seen = torch.cat([b.labels for b in epoch_batches(data, 32, 1, 2, labels)])
    assert len(seen) == 1000
    assert all(abs(int(n) - 1000 / 3) < 60 for n in torch.bincount(seen))  # four deviations
    again = torch.cat([b.labels for b in epoch_batches(data, 32, 1, 3, labels)])
    assert not torch.equal(seen, again)


def test_copies_are_numbered_in_their_order():
    places = torch.tensor([3, 0, 3, 3, 1, 0])
    assert numbered_copies(places, 10).tolist() == [3, 0, 13, 23, 1, 10]
