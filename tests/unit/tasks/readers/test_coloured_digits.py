"""The cue is in the source alone, as strong as stated; the target has all combinations alike."""

import numpy as np
import pytest

from raysel.spec.task import TaskSpec
from raysel.tasks.load_task import load_task
from raysel.tasks.readers.coloured_digits import coloured_digits
from raysel.tasks.readers.embedded_digits import digits


def _colours(data):
    images = data.load_images(np.arange(len(data)))
    assert images.shape == (1797, 3, 16, 16) and not images[:, 2].any()
    return images[:, 1].any(axis=(1, 2)).astype(int)


@pytest.mark.parametrize("cue", [0.5, 0.9, 1.0])
def test_the_share_of_the_source_that_follows_the_cue_is_the_stated_one(cue):
    data = coloured_digits(cue)
    colours, source = _colours(data), data.official_splits == "source"
    assert source.sum() == 900
    for label in (0, 1):
        own = source & (data.labels == label)
        assert abs((colours[own] == label).mean() - cue) <= 0.51 / own.sum()
        target = ~source & (data.labels == label)
        assert abs((colours[target] == label).mean() - 0.5) <= 0.51 / target.sum()


def test_groups_are_class_and_colour():
    data = coloured_digits(0.9)
    names = np.array(data.groups.names)[data.groups.numbers]
    pairs = zip(data.labels, _colours(data), strict=True)
    seen = [f"{data.classes[label]}, {('red', 'green')[colour]}" for label, colour in pairs]
    assert names.tolist() == seen


def test_the_digits_are_those_of_scikit_learn_whatever_their_colour():
    whole = np.arange(1797)
    grey, coloured = digits(), coloured_digits(1.0)
    np.testing.assert_array_equal(
        coloured.load_images(whole).max(axis=1, keepdims=True), grey.load_images(whole)
    )
    assert coloured.labels.tolist() == (grey.labels > 4).astype(int).tolist()


def test_a_stronger_cue_recolours_only_what_did_not_follow_it():
    weak, strong = coloured_digits(0.8), coloured_digits(0.95)
    changed = _colours(weak) != _colours(strong)
    assert (weak.official_splits[changed] == "source").all()
    assert (_colours(strong)[changed] == strong.labels[changed]).all()


def test_a_task_learns_the_source_with_its_cue_and_is_tested_without():
    spec = TaskSpec(
        data={"coloured_digits": 1.0}, split={"train": 80, "validation": 80, "test": 400}
    )
    task = load_task(spec)
    assert spec.name == "coloured_digits" and spec.default_weights == "source"
    seen = task.source_train.groups.counts()
    assert seen["0 to 4, green"] == seen["5 to 9, red"] == 0
    with task.test.opened() as test:
        assert min(test.groups.counts().values()) > 70
