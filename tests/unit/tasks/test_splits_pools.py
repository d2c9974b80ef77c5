"""Parts of a data set's own, shares, `all` and shots."""

import numpy as np
import pytest

from raysel.common.errors import UserError
from raysel.spec.sweep import SplitSpec
from raysel.tasks.splits import Splits, halves, shares_not_applied, split

CLASSES = ("a", "b", "c")


def _labels(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) % 3


def _pools(**counts: int) -> np.ndarray:
    return np.array([pool for pool, count in counts.items() for _ in range(count)])


def _split(count: int, official_splits=None, source=None, **sizes) -> Splits:
    return split(_labels(count), CLASSES, SplitSpec.model_validate(sizes), source, official_splits)


def _reported(count: int, official_splits=None, source=None, **sizes) -> str:
    with pytest.raises(UserError) as caught:
        _split(count, official_splits, source, **sizes)
    (problem,) = caught.value.problems
    return str(problem)


def test_the_test_examples_come_from_the_test_part_alone():
    parts = _split(150, _pools(train=90, test=60), train=30, validation=30, test=45)
    assert parts.test.min() >= 90
    for part in (parts.train, parts.validation, parts.source_train, parts.source_validation):
        assert part.max() < 90


def test_a_validation_part_of_its_own_is_taken():
    official_splits = _pools(train=60, validation=30, test=60)
    parts = _split(150, official_splits, train="all", validation="all", test="all")
    assert parts.train.tolist() == list(range(60))
    assert parts.validation.tolist() == list(range(60, 90))
    assert parts.test.tolist() == list(range(90, 150))
    assert len(parts.source_train) == 0


def _counts(parts: Splits) -> list[int]:
    return [len(part) for part in (parts.train, parts.validation, parts.test)]


@pytest.mark.parametrize("validation", [None, 0.2, "all"])
@pytest.mark.parametrize("test", [None, 0.5, "all"])
def test_official_parts_are_whole_unless_a_number_is_given(validation, test):
    official_splits = _pools(train=90, validation=45, test=60)
    sizes = {"validation": validation, "test": test}
    assert _counts(_split(195, official_splits, train=0.5, **sizes)) == [45, 45, 60]
    assert _counts(_split(195, official_splits, **sizes)) == [90, 45, 60]
    assert _counts(_split(195, official_splits, **{**sizes, "validation": 30})) == [90, 30, 60]


def test_a_share_is_one_of_the_training_part_where_nothing_else_is_there_to_draw_from():
    parts = _split(150, _pools(train=90, test=60), train=0.5, validation=0.2)
    assert _counts(parts) == [45, 18, 60]
    assert parts.validation.max() < 90


def test_parts_that_the_file_leaves_out_have_numbers_where_the_data_set_has_no_parts():
    assert _counts(_split(900)) == [200, 200, 400]
    # a source of its own is no part of the target's
    assert _counts(_split(990, _pools(train=900, source=90))) == [200, 200, 400]
    official = _pools(train=450, test=450)
    assert _counts(_split(900, official)) == [250, 200, 450]
    assert _counts(_split(900, official, official=False)) == [200, 200, 400]


def test_shots_leave_official_parts_whole():
    official_splits = _pools(train=90, validation=45, test=60)
    assert _counts(_split(195, official_splits, shots=5, validation=0.2)) == [15, 45, 60]


def test_a_share_that_is_not_applied_is_known():
    official_splits = _pools(train=90, validation=45, test=60)
    sizes = SplitSpec(train=0.5, validation=0.2, test=60)
    assert shares_not_applied(sizes, official_splits) == ("validation",)
    assert shares_not_applied(sizes, _pools(train=90, test=60)) == ()


def test_a_source_part_of_its_own_is_the_source():
    parts = _split(150, _pools(train=60, source=90), train=30, validation=15, test=15)
    source = np.sort(np.concatenate([parts.source_train, parts.source_validation]))
    assert source.tolist() == list(range(60, 150))


def test_parts_may_be_merged_before_splitting():
    official_splits = _pools(train=90, test=60)
    merged = _split(150, official_splits, official=False, train=30, validation=30, test=60)
    plain = _split(150, train=30, validation=30, test=60)
    np.testing.assert_array_equal(merged.test, plain.test)
    assert merged.test.min() < 90


def test_a_source_part_of_its_own_is_not_merged_with_the_targets():
    official_splits = _pools(train=60, test=30, source=60)
    parts = _split(150, official_splits, official=False, train=30, validation=15, test=45)
    source = np.sort(np.concatenate([parts.source_train, parts.source_validation]))
    assert source.tolist() == list(range(90, 150))
    assert parts.test.min() < 60


def test_shares_of_70_20_10_take_all_8189_flowers():
    # the block-wise paper's split; the data set has 8,189 pictures
    parts = _split(8189, train=0.7, validation=0.2, test=0.1)
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [5732, 1638, 819]


def test_a_tenth_of_the_training_part_validates_and_the_rest_trains():
    official_splits = _pools(train=1020, test=1020)
    parts = _split(2040, official_splits, train="all", validation=0.1, test="all")
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [918, 102, 1020]
    counts = np.bincount(_labels(2040)[parts.validation])
    assert counts.tolist() == [34, 34, 34]


def test_all_leaves_room_for_a_source_that_was_asked_for():
    parts = _split(150, source=60, train="all", validation=30, test=30)
    assert len(parts.train) == 30
    assert len(parts.source_train) + len(parts.source_validation) == 60


def test_shots_are_so_many_of_each_class():
    labels = np.array([0] * 100 + [1] * 30 + [2] * 20, np.int64)
    parts = split(labels, CLASSES, SplitSpec(shots=4, validation=30, test=30), None)
    assert np.bincount(labels[parts.train]).tolist() == [4, 4, 4]


def test_shots_change_nothing_in_validation_and_test():
    few = _split(150, shots=2, validation=30, test=30)
    many = _split(150, shots=9, validation=30, test=30)
    np.testing.assert_array_equal(few.test, many.test)
    np.testing.assert_array_equal(few.validation, many.validation)
    assert set(few.train) < set(many.train)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_split_is_a_function_of_its_seed(seed):
    official_splits = _pools(train=90, test=60)
    sizes = {"shots": 3, "validation": 0.2, "test": 30, "seed": seed}
    one, two = (_split(150, official_splits, **sizes) for _ in range(2))
    other = _split(150, official_splits, **{**sizes, "seed": seed + 10})
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert getattr(one, name).tolist() != getattr(other, name).tolist()


def test_too_few_of_a_class_for_the_shots_are_reported():
    labels = np.array([0] * 100 + [1] * 30 + [2] * 8, np.int64)
    with pytest.raises(UserError) as caught:
        split(labels, CLASSES, SplitSpec(shots=9, validation=30, test=30), None)
    (problem,) = caught.value.problems
    assert problem.path == "task.split.shots"
    assert problem.message.startswith('9 examples a class; the other parts leave class "c" ')


@pytest.mark.parametrize(
    ("sizes", "reported"),
    [
        (
            {"train": 30, "validation": 30, "test": 61},
            "task.split: test 61 = 61 examples; the data set's part for test has 60",
        ),
        (
            {"train": 80, "validation": 30, "test": 60},
            "task.split: train 80 + validation 30 = 110 examples; the data set's part for train and"
            " validation has 90",
        ),
        (
            {"train": "all", "validation": "all", "test": 60},
            "task.split: train and validation cannot both be all of one pool",
        ),
        (
            {"train": "all", "validation": 90, "test": 60},
            "task.split: validation 90 = 90 examples; the data set's part for train and"
            " validation has 90, so that none is left for train: all; give shares,"
            " task.split: {validation: 0.2}",
        ),
    ],
)
def test_sizes_that_a_pool_does_not_have_are_reported(sizes, reported):
    assert _reported(150, _pools(train=90, test=60), **sizes) == reported


def test_a_source_larger_than_its_own_part_is_reported():
    reported = _reported(150, _pools(train=60, source=90), 91, train=30, validation=15, test=15)
    assert reported == "task.source: 91 examples; the data set's source part has 90"


def test_halves_are_stratified_exact_and_seeded():
    labels = np.repeat(np.arange(3), [11, 20, 31]).astype(np.int64)
    official_splits = halves(labels, 3, seed=4)
    assert (official_splits == "test").sum() == (official_splits == "train").sum() == 31
    for label, count in enumerate((11, 20, 31)):
        assert abs((official_splits[labels == label] == "train").sum() - count / 2) <= 1
    np.testing.assert_array_equal(halves(labels, 3, seed=4), official_splits)
    assert (halves(labels, 3, seed=5) != official_splits).any()
