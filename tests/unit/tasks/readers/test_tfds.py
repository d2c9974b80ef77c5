"""Data sets of TensorFlow Datasets, as its library wrote them, read without it."""

import json

import numpy as np
import pytest
import tfds_kit as kit

from raysel.common.errors import UserError
from raysel.spec.task import TaskSpec
from raysel.tasks.datasets import open_pictures
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import open_task
from raysel.tasks.readers.byte_columns import NONE_ASKED, AskedColumns
from raysel.tasks.readers.tfds import prepared


@pytest.fixture
def pond(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    return kit.recorded(tmp_path)


def _by_picture(data) -> dict[bytes, tuple[str, str]]:
    """What is read of each picture: its class and part, by its pixels."""
    return {
        np.asarray(data.read(n)).tobytes(): (data.classes[label], str(part))
        for n, (label, part) in enumerate(zip(data.labels, data.official_splits, strict=True))
    }


NUMBERS = {kit.pixels(n).tobytes(): n for numbers in kit.PARTS.values() for n in numbers}
EXPECTED = {
    kit.pixels(number).tobytes(): (kit.CLASSES[number % 2], part)
    for part, numbers in kit.PARTS.items()
    for number in numbers
}


def test_what_the_library_wrote_is_read_with_its_classes_and_parts(pond):
    data = open_pictures(TaskSpec(data="tfds/pond"))
    assert data.classes == kit.CLASSES and data.name == "pond"
    assert _by_picture(data) == EXPECTED
    assert data.notes == ("pictures are in the column image, labels in label",)


@pytest.mark.parametrize("name", ["tfds/pond:1.0.0", "{}"])
def test_a_version_or_its_folder_is_the_same_data_set(pond, name):
    data = open_pictures(TaskSpec(data=name.format(pond)))
    assert _by_picture(data) == EXPECTED


def test_the_library_writes_it_so_still(tmp_path):
    reason = "tensorflow-datasets is not installed (it brings TensorFlow, 1.8 GB)"
    pytest.importorskip("tensorflow_datasets", reason=reason)
    assert _by_picture(prepared(kit.write(tmp_path))) == EXPECTED


def test_a_feature_makes_groups(pond):
    spec = TaskSpec(data={"tfds": "pond", "group_column": ["label", "site"]})
    data = open_pictures(spec)
    for index in range(len(data)):
        picture = np.asarray(data.read(index)).tobytes()
        (number,) = [
            n for ns in kit.PARTS.values() for n in ns if kit.pixels(n).tobytes() == picture
        ]
        expected = f"{kit.CLASSES[number % 2]}, {kit.SITES[number % 3]}"
        assert data.groups.names[data.groups.numbers[index]] == expected


def test_a_task_is_learnt_from_it(pond, tmp_path):
    split = {"train": 6, "validation": 6, "test": "all"}
    task = load_task(
        TaskSpec(data="tfds/pond", image_size=8, cache=str(tmp_path / "cache"), split=split)
    )
    assert (len(task.train), len(task.validation), len(task.test)) == (6, 6, 4)


def _problem(spec: TaskSpec) -> str:
    opened = open_task(spec)
    (problem,) = opened.problems or (opened.missing,)
    return str(problem)


def test_what_is_not_prepared_says_how_to(pond, tmp_path):
    message = _problem(TaskSpec(data="tfds/flowers"))
    assert message.startswith(f"tfds/flowers is not below {tmp_path} ($TFDS_DATA_DIR); TensorFlow")
    assert message.endswith("pip install tensorflow-datasets, tfds build flowers")
    (tmp_path / "pond" / "large").mkdir()
    pond.parent.joinpath("1.0.0").rename(tmp_path / "pond" / "large" / "1.0.0")
    kit.recorded(tmp_path)
    message = _problem(TaskSpec(data="tfds/pond"))
    assert "has several: pond/1.0.0, pond/large/1.0.0; write one as NAME/CONFIG:VERSION" in message
    assert _by_picture(open_pictures(TaskSpec(data="tfds/pond/large"))) == EXPECTED


def _refused(folder, asked=NONE_ASKED) -> str:
    with pytest.raises(UserError) as caught:
        prepared(folder, asked)
    (problem,) = caught.value.problems
    return f"{problem.path}: {problem.message}".replace(str(folder), "FOLDER")


def _changed(file, change):
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))


def test_another_file_format_names_the_one_that_is_read(pond):
    _changed(pond / "dataset_info.json", lambda info: info.update(fileFormat="array_record"))
    said = 'task.data: FOLDER holds files of the format "array_record"; TFRecord is read: tfds'
    assert _refused(pond).startswith(said)


def test_a_damaged_a_cut_off_and_an_absent_file_are_one_line(pond):
    shard = pond / "pond-train.tfrecord-00000-of-00001"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-30])
    assert "pond-train.tfrecord-00000-of-00001 is cut off or damaged at byte" in _refused(pond)
    end = 16 + int.from_bytes(whole[:8], "little")
    shard.write_bytes(whole[:end])
    assert _refused(pond).endswith("00000-of-00001 is incomplete: it has 1 of 12 records")
    shard.write_bytes(whole[:12] + b"\xff" * (end - 16) + whole[end - 4 :])
    assert "cannot be read: a record is no message of tf.train.Example" in _refused(pond)
    shard.unlink()
    assert "FOLDER is incomplete: there is no pond-train.tfrecord" in _refused(pond)
    (pond / "dataset_info.json").write_text("{")
    assert _refused(pond).startswith("task.data: FOLDER cannot be read: ")


def test_without_pictures_or_classes_the_features_are_named(pond):
    def only(*names):
        def change(found):
            features = found["featuresDict"]["features"]
            for name in set(features) - set(names):
                del features[name]

        return change

    file = pond / "features.json"
    whole = file.read_text()
    _changed(file, only("label", "site"))
    assert "FOLDER has no column of pictures" in _refused(pond)
    file.write_text(whole)
    _changed(file, only("image", "box"))
    assert "FOLDER has no column of labels: it has box; raysel does single-label" in _refused(pond)
    file.write_text(whole)
    assert 'column "box" holds list' in _refused(pond, AskedColumns(groups=("box",)))


def test_a_name_that_is_none_is_refused():
    for wrong in ("tfds/", "tfds/../pond", "tfds/a b"):
        with pytest.raises(ValueError, match="give NAME, NAME/CONFIG or NAME/CONFIG:1"):
            TaskSpec(data=wrong)


def test_a_label_without_a_class_is_refused(pond):
    (pond / "label.labels.txt").write_text("newt\n")
    assert "label 1 is outside 0 .. 0" in _refused(pond)
