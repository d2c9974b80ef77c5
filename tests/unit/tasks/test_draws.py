"""Splits drawn again: the test part stays sealed, the rest is divided again."""

from __future__ import annotations

import numpy as np
import pytest

from raysel.common.errors import UserError
from raysel.spec.sweep import SplitSpec
from raysel.tasks.draws import draw_splits
from raysel.tasks.splits import split

CLASSES = ("a", "b", "c")
LABELS = np.random.default_rng(0).choice(3, 600, p=[0.5, 0.3, 0.2])


def drawn(count: int = 4, seed: int = 5, **sizes):
    asked = {"train": 200, "validation": 100, "test": 150} | sizes
    spec = SplitSpec(seed=seed, **asked)
    parts = split(LABELS, CLASSES, spec, 100)
    return parts, draw_splits(LABELS, CLASSES, parts, count, seed, spec.shots)


def test_no_draw_takes_a_test_or_a_source_example():
    parts, draws = drawn()
    sealed = np.concatenate([parts.test, parts.source_train, parts.source_validation])
    for draw in draws:
        assert not np.isin(np.r_[draw.train, draw.validation], sealed).any()
        assert not np.isin(draw.train, draw.validation).any()


def test_each_is_as_large_as_the_searchs_own_parts_and_stratified_alike():
    parts, draws = drawn()
    for draw in draws:
        assert (len(draw.train), len(draw.validation)) == (200, 100)
        for ours, theirs in ((draw.train, parts.train), (draw.validation, parts.validation)):
            counts = [np.bincount(LABELS[part], minlength=3) for part in (ours, theirs)]
            assert np.abs(counts[0] - counts[1]).max() <= 2


def test_draws_differ_from_each_other_and_use_examples_that_the_search_left():
    parts, draws = drawn()
    assert len({draw.validation.tobytes() for draw in draws}) == len(draws)
    used = np.concatenate([np.r_[draw.train, draw.validation] for draw in draws])
    assert not np.isin(used, np.r_[parts.train, parts.validation]).all()


def test_a_draw_is_a_function_of_the_seed_and_its_number():
    _, four = drawn(4)
    _, two = drawn(2)
    _, other = drawn(2, seed=6)
    assert [d.train.tolist() for d in four[:2]] == [d.train.tolist() for d in two]
    assert four[0].train.tolist() != other[0].train.tolist()


def test_shots_hold_in_each_draw():
    _, draws = drawn(train=None, shots=7)
    for draw in draws:
        assert np.bincount(LABELS[draw.train]).tolist() == [7, 7, 7]


@pytest.mark.parametrize("shots", [2, 4, 5, 8])
def test_shots_hold_in_each_draw_of_classes_of_unequal_size(shots):
    """A stratified validation part took more of the rare class than the search's own had."""
    labels = np.repeat([0, 1], [20, 40])
    spec = SplitSpec(seed=0, shots=shots, validation=4, test=8)
    parts = split(labels, ("cat", "dog"), spec, None)
    draws = draw_splits(labels, ("cat", "dog"), parts, 5, 0, shots)
    assert len({draw.train.tobytes() for draw in draws}) == 5
    for draw in draws:
        assert np.bincount(labels[draw.train]).tolist() == [shots, shots]
        assert len(draw.validation) == 4
        assert not np.isin(draw.train, draw.validation).any()


def test_what_a_data_set_publishes_as_test_is_never_drawn():
    official = np.where(np.arange(600) < 200, "test", "train")
    spec = SplitSpec(seed=1, train=150, validation=100, test=50)
    parts = split(LABELS, CLASSES, spec, None, official)
    for draw in draw_splits(LABELS, CLASSES, parts, 3, 1, None, official):
        assert np.r_[draw.train, draw.validation].min() >= 200


def test_more_splits_than_there_are_name_how_many_there_are():
    labels = np.repeat([0, 1], 4)
    spec = SplitSpec(seed=1, train=4, validation=2, test=2)
    parts = split(labels, ("a", "b"), spec, None)
    assert len(draw_splits(labels, ("a", "b"), parts, 9, 1)) == 9
    with pytest.raises(UserError, match=r"at most 9"):
        draw_splits(labels, ("a", "b"), parts, 10, 1)
