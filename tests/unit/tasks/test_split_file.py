import json
from pathlib import Path

import numpy as np
import pytest

from raysel.common.errors import UserError
from raysel.spec.sweep import TaskSpec
from raysel.tasks.data import Examples
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import open_task
from raysel.tasks.split_file import divide, identity, read_split, split_record, what_changed
from raysel.tasks.splits import Splits

LABELS = np.arange(60, dtype=np.int64) % 3
CLASSES = ("a", "b", "c")


def _spec(data="toy", **split) -> TaskSpec:
    sizes = {"train": 12, "validation": 9, "test": 15}
    return TaskSpec.model_validate({"data": data, "split": {**sizes, **split}})


@pytest.fixture
def record(tmp_path):
    """A split's record, and the file in which it lies."""
    spec = _spec(seed=7)
    parts = divide(spec, LABELS, CLASSES)
    path = tmp_path / "split.json"
    content = split_record(spec, LABELS, CLASSES, parts)
    path.write_text(json.dumps(content))
    return parts, content, path


def _reported(path, labels=LABELS, classes=CLASSES) -> str:
    with pytest.raises(UserError) as caught:
        divide(_spec(indices=str(path)), labels, classes)
    (problem,) = caught.value.problems
    assert problem.path == "task.split.indices"
    return problem.message.replace(str(path), "FILE")


def test_a_split_that_is_read_back_is_the_very_same(record):
    parts, _, path = record
    again = divide(_spec(indices=str(path), train=1, seed=0), LABELS, CLASSES)
    for name in Splits.__annotations__:
        np.testing.assert_array_equal(getattr(again, name), getattr(parts, name))
        assert getattr(again, name).dtype == np.int64


FILES = [Path("photos/cat") / f"{number:02}.png" for number in range(60)]


@pytest.mark.parametrize(
    ("labels", "classes", "files", "words"),
    [
        (LABELS, CLASSES, FILES, None),
        (LABELS, CLASSES, [Path("/moved") / file for file in FILES], None),
        (LABELS, CLASSES, None, None),  # an older raysel's has no names
        (LABELS[:58], CLASSES, FILES[:58], "58 examples, 60 then"),
        (LABELS[::-1].copy(), CLASSES, FILES, "as many examples, with other labels"),
        (LABELS, ("a", "b", "d"), FILES, "as many examples, with other labels, other classes"),
        (LABELS, CLASSES, FILES[::-1], "as many pictures, under other names"),
        (LABELS, CLASSES, [*FILES[:-1], Path("photos/cat/x.png")], "as many pictures, under"),
    ],
)
def test_how_data_have_changed_is_said(labels, classes, files, words):
    parts = divide(_spec(), LABELS, CLASSES)
    then = json.loads(json.dumps(split_record(_spec(), LABELS, CLASSES, parts, (), FILES)))
    found = what_changed(then, identity(labels, classes, files))
    assert found is None if words is None else str(found).startswith(words)


def test_other_data_are_refused(record):
    *_, path = record
    reported = 'FILE was made of 60 examples of "toy"; this data set has '
    assert _reported(path, LABELS[:-1]).startswith(f"{reported}59: give a split.json")
    assert _reported(path, LABELS[::-1].copy()).startswith(f"{reported}as many, with other")
    assert _reported(path, classes=("a", "b", "d")).startswith(f"{reported}as many, with other")


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"train": [1, 2, 60]}, "FILE: index 60 is outside 0 .. 59"),
        ({"train": [-1]}, "FILE: index -1 is outside 0 .. 59"),
        ({"train": [3, 3]}, "FILE: example 3 is in it twice"),
        ({"train": []}, "FILE: train is empty"),
        ({"train": [1.5]}, "FILE lacks one of train, validation, test, source_train, source"),
        ({"train": "all"}, "FILE lacks one of train, validation, test, source_train, source"),
        ({"train": None}, "FILE lacks one of train, validation, test, source_train, source"),
        ({"train": [10**30]}, "FILE lacks one of train, validation, test, source_train, source"),
    ],
)
def test_a_damaged_list_is_reported(record, change, reported):
    _, content, path = record
    empty: dict[str, list[int]] = {key: [] for key in content["parts"]}
    parts = {**empty, "validation": [10], "test": [11], **change}
    path.write_text(json.dumps({**content, "parts": parts}))
    assert _reported(path).startswith(reported)


def test_an_example_in_two_parts_is_reported(record):
    _, content, path = record
    content["parts"]["train"] = content["parts"]["test"]
    path.write_text(json.dumps(content))
    assert "is in it twice" in _reported(path)


def test_a_missing_file_and_one_that_is_no_record_are_reported(tmp_path):
    path = tmp_path / "x.json"
    assert _reported(path).startswith(
        "FILE cannot be read: No such file or directory; give a sweep's"
    )
    for text in ("{", "[]", "3"):
        path.write_text(text)
        assert _reported(path).startswith("FILE cannot be read: ")


def test_a_task_is_reproduced_from_its_record(tmp_path):
    spec = _spec("digits", train=30, validation=20, test=40, seed=5)
    task = load_task(spec)
    path = tmp_path / "split.json"
    path.write_text(json.dumps(task.record))
    other = _spec("digits", indices=str(path))
    assert open_task(other).problems == ()
    again = load_task(other)
    assert isinstance(task.train, Examples)
    assert isinstance(again.train, Examples)
    np.testing.assert_array_equal(again.train.images, task.train.images)
    assert again.record["parts"] == task.record["parts"]


def test_a_wrong_file_is_a_problem_of_the_task(tmp_path):
    (problem,) = open_task(_spec("digits", indices=str(tmp_path / "no.json"))).problems
    assert problem.path == "task.split.indices"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "data and examples and fingerprint and parts are missing or wrong"),
        ('{"train": [0], "test": [1]}', "it is not a split"),
        ('{"data": "toy", "examples": true, "fingerprint": "x", "parts": {}}', "examples"),
        ('{"data": null, "examples": 3, "fingerprint": "x", "parts": {}}', "data"),
        ('{"examples": ' + "9" * 5000 + "}", "a number of 5000 digits is not read"),
        ("[]", "it holds no keys"),
    ],
)
def test_a_file_of_others_is_no_split(tmp_path, content, words):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(UserError) as reported:
        read_split(tmp_path / "other.json", np.zeros(3, np.int64), ["a", "b"])
    message = str(reported.value)
    assert words in message
    assert "None" not in message
    assert "set_int_max_str_digits" not in message
    assert message.endswith("give a sweep's split.json")
