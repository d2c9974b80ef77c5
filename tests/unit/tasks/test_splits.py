import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raysel.common.errors import UserError
from raysel.spec.sweep import SplitSpec
from raysel.tasks.splits import Splits, largest_remainder, split

NAMES = ("train", "validation", "test", "source_train", "source_validation")


def _parts(splits: Splits) -> dict[str, np.ndarray]:
    return {name: getattr(splits, name) for name in NAMES}


def _sizes(train=20, validation=20, test=20, seed=0) -> SplitSpec:
    return SplitSpec(train=train, validation=validation, test=test, seed=seed)


def _classes(labels) -> list[str]:
    return [f"c{i}" for i in range(int(labels.max()) + 1)]


def _balanced(classes=4, each=50):
    """Labels 0, 1, 2, 3, 0, 1, …"""
    return np.arange(classes * each, dtype=np.int64) % classes


@st.composite
def cases(draw):
    """Labels of 2 to 5 classes of unequal size, in any order, and sizes that fit."""
    counts = draw(st.lists(st.integers(10, 60), min_size=2, max_size=5))
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    labels = np.random.default_rng(draw(st.integers(0, 99))).permutation(labels)
    part = st.integers(1, len(labels) // 3)
    sizes = _sizes(draw(part), draw(part), draw(part), draw(st.integers(0, 2**32 - 1)))
    left = len(labels) - sizes.train - sizes.validation - sizes.test
    source = draw(st.none() | st.integers(1, left)) if left else None
    return labels, sizes, source


def _split(case) -> Splits:
    """The split of a case; a case that cannot hold every class is left out."""
    labels, sizes, source = case
    try:
        return split(labels, _classes(labels), sizes, source)
    except UserError:
        assume(False)
        raise


@given(cases())
def test_no_example_is_in_two_parts_or_twice_in_one(case):
    dealt = np.concatenate(list(_parts(_split(case)).values()))
    assert len(np.unique(dealt)) == len(dealt)
    assert set(dealt) <= set(range(len(case[0])))


@given(cases())
def test_the_sizes_are_exact(case):
    labels, sizes, source = case
    splits = _split(case)
    assert len(splits.train) == sizes.train
    assert len(splits.validation) == sizes.validation
    assert len(splits.test) == sizes.test
    left = len(labels) - sizes.train - sizes.validation - sizes.test
    source_parts = len(splits.source_train) + len(splits.source_validation)
    assert source_parts == source if source is not None else source_parts in (0, left)


@given(cases())
def test_every_part_holds_the_classes_in_the_proportion_of_the_data(case):
    # A part follows what is left to it to within one example; what the parts before it
    # (three, the source's two) took off by at most one each can add to that.
    labels, _, _ = case
    share = np.bincount(labels) / len(labels)
    for part in _parts(_split(case)).values():
        held = np.bincount(labels[part], minlength=len(share))
        assert np.abs(held - len(part) * share).max() < 5


@given(cases())
def test_the_test_part_which_is_dealt_first_is_within_one_example_of_its_share(case):
    labels, sizes, _ = case
    share = np.bincount(labels) / len(labels)
    held = np.bincount(labels[_split(case).test], minlength=len(share))
    assert np.abs(held - sizes.test * share).max() < 1


@given(cases())
def test_every_class_is_in_train_and_validation_and_in_the_source(case):
    labels, _, source = case
    splits = _split(case)
    everything = set(labels)
    assert set(labels[splits.train]) == everything
    assert set(labels[splits.validation]) == everything
    assert set(labels[splits.source_train]) in ([everything] if source else [everything, set()])
    assert bool(len(splits.source_train)) == bool(len(splits.source_validation))


@given(cases())
def test_the_same_seed_gives_the_same_split(case):
    first, again = _split(case), _split(case)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_another_seed_gives_another_split(seed, other):
    labels = _balanced()
    first, second = (split(labels, _classes(labels), _sizes(seed=s), None) for s in (seed, other))
    # 5 of 50 examples of each of 4 classes: a chance of 1e-25 to draw the same
    assert np.array_equal(first.train, second.train) == (seed == other)


def test_equal_classes_get_equal_shares():
    labels = _balanced(classes=4, each=50)
    splits = split(labels, _classes(labels), _sizes(20, 40, 80), source=40)
    held = {name: np.bincount(labels[part]).tolist() for name, part in _parts(splits).items()}
    assert held == {
        "train": [5] * 4,
        "validation": [10] * 4,
        "test": [20] * 4,
        "source_validation": [1] * 4,
        "source_train": [9] * 4,
    }


def test_the_source_is_all_that_the_target_leaves_and_a_tenth_of_it_validates():
    labels = _balanced(classes=4, each=50)
    splits = split(labels, _classes(labels), _sizes(20, 20, 60), source=None)
    assert (len(splits.source_train), len(splits.source_validation)) == (90, 10)


def test_a_small_source_still_keeps_one_example_for_validation():
    labels = _balanced(classes=2)
    splits = split(labels, _classes(labels), _sizes(), source=4)
    assert (len(splits.source_train), len(splits.source_validation)) == (3, 1)


@pytest.mark.parametrize("left", [0, 3])
def test_leftovers_that_do_not_hold_every_class_are_no_source(left):
    labels = _balanced(classes=4, each=50)
    splits = split(labels, _classes(labels), _sizes(100, 50, 50 - left), source=None)
    assert len(splits.source_train) == len(splits.source_validation) == 0


def test_the_size_of_the_source_changes_nothing_in_the_target():
    labels = _balanced()
    small, large = (split(labels, _classes(labels), _sizes(), source) for source in (20, 100))
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(small, name), getattr(large, name))


def test_a_larger_training_part_leaves_the_validation_and_the_test_as_they_are():
    labels = _balanced()
    small, large = (
        split(labels, _classes(labels), _sizes(train=train), None) for train in (20, 60)
    )
    np.testing.assert_array_equal(small.validation, large.validation)
    np.testing.assert_array_equal(small.test, large.test)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20), st.data())
def test_largest_remainder_is_exact_and_within_one_of_each_share(counts, data):
    counts = np.array(counts, np.int64)
    size = data.draw(st.integers(0, int(counts.sum())))
    shares = largest_remainder(size, counts)
    assert shares.sum() == size
    assert (shares >= 0).all()
    assert (shares <= counts).all()
    assert (np.abs(shares * counts.sum() - size * counts) < max(counts.sum(), 1)).all()


def test_largest_remainder_by_hand():
    # 7 among 5, 3, 2: shares 3.5, 2.1, 1.4; the one left over goes to the remainder 0.5
    assert largest_remainder(7, np.array([5, 3, 2])).tolist() == [4, 2, 1]


def _problems(labels, sizes, source=None) -> list[str]:
    with pytest.raises(UserError) as caught:
        split(labels, _classes(labels), sizes, source)
    return [str(problem) for problem in caught.value.problems]


def test_a_target_larger_than_the_data_is_refused_with_the_number_there_is():
    assert _problems(_balanced(), _sizes(100, 100, 100)) == [
        "task.split: train 100 + validation 100 + test 100 = 300 examples; the data set has 200."
        " Shares fit any number: {train: 0.6, validation: 0.2, test: 0.2}"
    ]


def test_a_source_larger_than_what_is_left_is_refused_with_what_is_left():
    assert _problems(_balanced(), _sizes(), source=141) == [
        "task.source: 141 examples are too many: the data set has 200, of which the target's parts"
        " take 60; give at most 140"
    ]


@pytest.mark.parametrize(
    ("source", "reported"),
    [
        (
            None,
            "task.split: validation 100 + test 100 = 200 examples; the data set has 200, so that"
            " none is left for train: all; give shares, task.split: {validation: 0.2, test: 0.2}",
        ),
        (
            150,
            "task.split: validation 20 + test 40 + task.source 150 = 210 examples; the data set"
            " has 200, so that none is left for train: all; give shares, task.split:"
            " {validation: 0.2, test: 0.2}",
        ),
    ],
)
def test_nothing_left_for_all_is_refused_with_what_takes_it(source, reported):
    sizes = _sizes("all", 20, 40) if source else _sizes("all", 100, 100)
    assert _problems(_balanced(), sizes, source=source) == [reported]


def test_parts_smaller_than_the_number_of_classes_are_all_reported():
    assert _problems(_balanced(), _sizes(train=3, validation=2), source=4) == [
        "task.split.train: 3 examples cannot hold all 4 classes",
        "task.split.validation: 2 examples cannot hold all 4 classes",
        "task.source: 4 examples, 1 of them for validation: 3 examples cannot hold all 4 classes",
    ]


def test_a_class_too_rare_for_the_validation_part_is_named():
    labels = np.array([0] * 100 + [1] * 98 + [2] * 2, np.int64)
    # 2 of 200: a share of 0.2 of 20 in the validation, and 0.6 of 60 in the training part
    assert _problems(labels, _sizes(train=60, validation=20, test=20)) == [
        'task.split.validation: 20 examples hold none of class "c2",'
        " which has 2 of the data set's 200"
    ]


def test_the_given_labels_stay_as_they_are():
    labels = _balanced()
    before = labels.copy()
    split(labels, _classes(labels), _sizes(), None)
    np.testing.assert_array_equal(labels, before)
