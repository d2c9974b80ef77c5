import itertools

import numpy as np
import pytest

from raysel.tasks.shots import first_shots, shortage

LABELS = np.repeat(np.arange(3, dtype=np.int64), [10, 20, 30])


@pytest.mark.parametrize("shots", [1, 4, 10])
def test_each_class_gives_as_many(shots):
    chosen = first_shots(LABELS, shots)
    assert np.bincount(LABELS[chosen]).tolist() == [shots] * 3
    assert np.all(np.diff(chosen) > 0)


def test_the_fewer_are_among_the_more_and_the_draw_is_the_same_every_time():
    draws = [set(first_shots(LABELS, shots).tolist()) for shots in (1, 3, 7, 10)]
    assert all(few < more for few, more in itertools.pairwise(draws))
    np.testing.assert_array_equal(first_shots(LABELS, 5), first_shots(LABELS, 5))


def test_they_are_not_the_first_of_their_class():
    chosen = first_shots(LABELS, 5)
    assert chosen.tolist() != [*range(5), *range(10, 15), *range(30, 35)]


def test_a_class_that_has_fewer_gives_all():
    assert np.bincount(LABELS[first_shots(LABELS, 15)]).tolist() == [10, 15, 15]


def test_what_a_class_lacks_is_reported():
    classes = ("cat", "dog", "newt")
    assert shortage(LABELS, classes, 10) is None
    assert shortage(LABELS, classes, 11) == (
        '11 examples a class; the training part has 10 of class "cat".'
        " Give task.split.shots: 11, or fewer here"
    )
    assert "has 0 of class" in str(shortage(LABELS, (*classes, "none"), 1))
