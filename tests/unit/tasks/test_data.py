import pickle

import numpy as np
import pytest

from raysel.common.errors import UserError
from raysel.tasks.data import Dataset, Examples, SealedTest, TestSplitSealed, channel_statistics


def _examples(n: int = 3) -> Examples:
    images = np.linspace(0, 1, n * 8, dtype=np.float32).reshape(n, 2, 2, 2)
    return Examples(images, np.arange(n, dtype=np.int64))


def test_examples_are_as_many_as_their_labels():
    assert len(_examples(3)) == 3


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 1, 4, 4), np.float64), np.zeros(2, np.int64)),
        (np.zeros((2, 4, 4), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 1, 4, 4), np.float32), np.zeros(2, np.int32)),
        (np.zeros((2, 1, 4, 4), np.float32), np.zeros(3, np.int64)),
    ],
    ids=["double images", "no channels", "short labels", "a label too many"],
)
def test_examples_of_another_type_or_shape_are_refused(images, labels):
    with pytest.raises(ValueError, match=r"must be (float32|int64)"):
        Examples(images, labels)


def test_a_sealed_test_cannot_be_read():
    with pytest.raises(TestSplitSealed, match="confirm phase"):
        _ = SealedTest(_examples()).examples


def test_an_opened_test_can_be_read():
    given = _examples()
    sealed = SealedTest(given)
    with sealed.opened() as examples:
        assert examples is given
        assert sealed.examples is given


def test_the_seal_is_back_after_the_block_even_when_it_fails():
    sealed = SealedTest(_examples())
    with pytest.raises(KeyError), sealed.opened():
        raise KeyError
    with pytest.raises(TestSplitSealed):
        _ = sealed.examples


def test_a_pickled_copy_is_sealed_even_when_sent_from_an_open_block():
    sealed = SealedTest(_examples())
    with sealed.opened() as examples:
        copy = pickle.loads(pickle.dumps(sealed))
        with pytest.raises(TestSplitSealed):
            _ = copy.examples
        with copy.opened() as copied:
            np.testing.assert_array_equal(copied.images, examples.images)
            np.testing.assert_array_equal(copied.labels, examples.labels)


def test_a_sealed_test_reports_its_size_and_nothing_of_its_content():
    sealed = SealedTest(_examples(3))
    assert len(sealed) == 3
    assert repr(sealed) == "SealedTest(3 examples, sealed)"


def test_channel_statistics_are_those_of_each_channel():
    images = np.zeros((2, 2, 1, 2), np.float32)
    images[:, 0] = [[[0.0, 1.0]], [[0.0, 1.0]]]  # mean 0.5, deviation 0.5
    images[:, 1] = [[[0.2, 0.2]], [[0.6, 0.6]]]  # mean 0.4, deviation 0.2
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((0.5, 0.4))
    assert std == pytest.approx((0.5, 0.2))


def test_a_constant_channel_can_be_divided_by_its_deviation():
    assert channel_statistics(np.full((4, 1, 3, 3), 0.1, np.float32))[1] == (1.0,)


@pytest.mark.parametrize(("classes", "labels"), [(("cat",), [0, 0]), (("cat", "dog"), [1, 1])])
def test_a_data_set_of_one_class_is_refused(classes, labels):
    with pytest.raises(UserError, match="has one class alone"):
        Dataset(classes, np.array(labels), 1, (8, 8), lambda indices: pytest.fail("decoded"))
