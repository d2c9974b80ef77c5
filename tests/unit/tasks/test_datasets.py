import pickle
import subprocess
import sys

import numpy as np
import pytest
from few_kit import several

from raysel.common.errors import UserError
from raysel.spec.sweep import TaskSpec
from raysel.tasks import datasets
from raysel.tasks.data import Dataset, Examples, Task, TestSplitSealed
from raysel.tasks.datasets import register
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import TaskShape, open_task
from raysel.tasks.readers.embedded_digits import digits
from raysel.tasks.shifts import SHIFTS

SPLIT = {"train": 30, "validation": 20, "test": 40, "seed": 3}


def _spec(data="digits", **values) -> TaskSpec:
    return TaskSpec.model_validate({"data": data, "split": SPLIT, **values})


def _test_part(task: Task) -> Examples:
    with task.test.opened() as examples:
        return examples


def _parts(task: Task) -> dict[str, Examples]:
    assert task.source_train is not None
    assert task.source_validation is not None
    return {
        "source_train": task.source_train,
        "source_validation": task.source_validation,
        "train": task.train,
        "validation": task.validation,
        "test": _test_part(task),
    }


TARGET = ("train", "validation", "test")
SOURCE = ("source_train", "source_validation")


@pytest.fixture
def decoded():
    """A data set `toy` in the catalog, and the list of what was decoded of it."""
    asked: list[np.ndarray] = []

    def load_images(indices):
        asked.append(indices)
        return np.zeros((len(indices), 1, 4, 6), np.float32)

    @register("toy")
    def toy(spec: TaskSpec) -> Dataset:
        return Dataset(("a", "b"), np.arange(200, dtype=np.int64) % 2, 1, (4, 6), load_images)

    yield asked
    del datasets._OPENERS["toy"]


def test_a_task_has_the_sizes_asked_for():
    task = load_task(_spec(source=100))
    assert {name: len(part) for name, part in _parts(task).items()} == {
        **{"source_train": 90, "source_validation": 10},
        **{"train": 30, "validation": 20, "test": 40},
    }


def test_the_parts_together_are_the_data_set_itself():
    dataset = digits()
    images = dataset.load_images(np.arange(len(dataset)))
    given = sorted(
        (label, image.tobytes()) for image, label in zip(images, dataset.labels, strict=True)
    )
    parts = _parts(load_task(_spec()))
    dealt = sorted(
        (label, image.tobytes())
        for part in parts.values()
        for image, label in zip(part.images, part.labels, strict=True)
    )
    assert dealt == given


def test_a_loaded_test_part_is_sealed_also_on_a_worker():
    task = load_task(_spec())
    for held in (task, pickle.loads(pickle.dumps(task))):
        with pytest.raises(TestSplitSealed):
            _ = held.test.examples


def test_the_task_reports_its_shape_as_the_catalog_does():
    for data, channels in [("digits", 1), ("digits_edges", 3)]:
        task = load_task(_spec(data))
        shape = TaskShape(task.channels, task.image_size, len(task.classes))
        assert shape == open_task(_spec(data)).shape() == (channels, (16, 16), 10)


@pytest.fixture(scope="module")
def plain():
    """The parts of a task without a shift."""
    return _parts(load_task(_spec("digits_edges")))


@pytest.mark.parametrize("kind", several(6, [kind for kind in SHIFTS if SHIFTS[kind].of_image]))
def test_an_input_shift_changes_every_target_part_and_not_the_source(kind, plain):
    shifted = _parts(load_task(_spec("digits_edges", shift={"kind": kind})))
    for name in SOURCE:
        np.testing.assert_array_equal(shifted[name].images, plain[name].images)
    for name in TARGET:
        assert all(
            not np.array_equal(one, other)
            for one, other in zip(shifted[name].images, plain[name].images, strict=True)
        )
    for name, part in plain.items():
        np.testing.assert_array_equal(shifted[name].labels, part.labels)


def test_a_label_flip_changes_every_target_label_and_not_the_source():
    plain = _parts(load_task(_spec()))
    shifted = _parts(load_task(_spec(shift={"kind": "label_flip"})))
    for name in SOURCE:
        np.testing.assert_array_equal(shifted[name].labels, plain[name].labels)
    for name in TARGET:
        np.testing.assert_array_equal(shifted[name].labels, 9 - plain[name].labels)
        np.testing.assert_array_equal(shifted[name].images, plain[name].images)


def test_the_seed_of_the_split_is_the_seed_of_the_noise():
    def noise_of_all_grey(seed):
        @register("grey")
        def grey(spec: TaskSpec) -> Dataset:
            def load_images(indices):
                return np.full((len(indices), 1, 4, 4), 0.5, np.float32)

            return Dataset(("a", "b"), np.arange(90, dtype=np.int64) % 2, 1, (4, 4), load_images)

        split = {**SPLIT, "seed": seed}
        try:
            task = load_task(_spec("grey", split=split, shift={"kind": "gaussian_noise"}))
        finally:
            del datasets._OPENERS["grey"]
        return {image.tobytes() for part in (task.train, _test_part(task)) for image in part.images}

    assert noise_of_all_grey(1) == noise_of_all_grey(1)
    assert not noise_of_all_grey(1) & noise_of_all_grey(2)


def test_the_severity_reaches_the_images():
    weak, strong = (
        load_task(_spec(shift={"kind": "contrast", "severity": severity})) for severity in (1, 5)
    )
    assert strong.train.images.std() < weak.train.images.std()


def test_images_are_standardised_by_the_source_and_not_by_the_shifted_target():
    task = load_task(_spec(shift={"kind": "inversion"}))
    assert task.source_train is not None
    assert task.mean == pytest.approx((float(task.source_train.images.mean()),), rel=1e-5)
    assert task.std == pytest.approx((float(task.source_train.images.std()),), rel=1e-5)
    assert abs(task.mean[0] - float(task.train.images.mean())) > 0.2


def test_without_a_source_the_target_training_part_gives_mean_and_deviation():
    split = {"train": 797, "validation": 500, "test": 500}
    task = load_task(_spec(split=split, shift={"kind": "inversion"}))
    assert task.source_train is None
    assert task.source_validation is None
    assert task.mean == pytest.approx((float(task.train.images.mean()),), rel=1e-5)


def test_a_registered_data_set_joins_with_one_function(decoded):
    task = load_task(_spec("toy"))
    assert (task.name, task.classes, task.image_size) == ("toy", ("a", "b"), (4, 6))


def test_only_the_examples_of_a_part_are_decoded_and_each_once(decoded):
    load_task(_spec("toy", source=20))
    indices = np.concatenate(decoded)
    assert len(indices) == len(set(indices)) == 30 + 20 + 40 + 20


def test_checking_and_asking_for_the_shape_decode_no_image(decoded):
    assert open_task(_spec("toy")).problems == ()
    assert open_task(_spec("toy")).shape() == (1, (4, 6), 2)
    assert decoded == []


def _reported(spec: TaskSpec) -> list[str]:
    """What `open_task` says; `load_task` must refuse with the same words."""
    reported = [str(problem) for problem in open_task(spec).problems]
    with pytest.raises(UserError) as caught:
        load_task(spec)
    assert [str(problem) for problem in caught.value.problems] == reported
    return reported


def test_a_good_task_has_no_problem():
    for data in ("digits", "digits_edges"):
        assert open_task(_spec(data)).problems == ()


def test_an_unknown_data_set_and_an_unknown_shift_are_reported_with_the_nearest_name():
    assert _reported(_spec("digit", shift={"kind": "gausian_noise"})) == [
        'task.data: no data set is called "digit"; did you mean "digits"?',
        'task.shift.kind: no shift is called "gausian_noise"; did you mean "gaussian_noise"?',
    ]


def test_an_unknown_shift_of_a_known_data_set_is_reported():
    assert _reported(_spec(shift={"kind": "inversions"})) == [
        'task.shift.kind: no shift is called "inversions"; did you mean "inversion"?'
    ]


def test_the_shape_of_an_unknown_data_set_is_refused():
    with pytest.raises(UserError, match="did you mean"):
        open_task(_spec("digit")).shape()


def test_a_channel_permutation_of_grey_images_names_the_data_set_to_take():
    assert _reported(_spec(shift={"kind": "channel_permutation"})) == [
        "task.shift.kind: channel_permutation needs 3 channels; digits has 1. digits_edges has 3"
    ]


def test_the_problems_of_shift_and_split_are_reported_together():
    reported = _reported(
        _spec(shift={"kind": "channel_permutation"}, split={"train": 9, "validation": 8})
    )
    assert [line.split(":")[0] for line in reported] == [
        *("task.shift.kind", "task.split.train", "task.split.validation")
    ]


def test_a_split_larger_than_the_data_says_how_many_there_are():
    (line,) = _reported(_spec(split={"test": 4000}))
    assert line.startswith("task.split: ")
    assert line.endswith(
        "the data set has 1797. Shares fit any number: {train: 0.6, validation: 0.2, test: 0.2}"
    )


@pytest.mark.slow
def test_digits_are_read_without_importing_scikit_learn():
    code = (
        "import sys; from raysel.spec.sweep import TaskSpec;"
        "from raysel.tasks.opened_task import open_task;"
        "assert open_task(TaskSpec(data='digit')).problems; assert 'sklearn' not in sys.modules;"
        "assert not open_task(TaskSpec(data='digits')).problems;"
        "assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
