"""Samples as webdataset's own writer leaves them, in one tar or in shards."""

import io
import tarfile

import numpy as np
import pictures_kit as kit
import pytest

from raysel.common.errors import UserError
from raysel.spec.task import TaskSpec
from raysel.tasks.opened_task import open_task
from raysel.tasks.readers.archive import archives

wds = pytest.importorskip("webdataset", reason="webdataset is not installed")


def _shard(path, *samples):
    with wds.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)
    return path


def _sample(number, **parts):
    return {"__key__": f"{number:04d}", "png": kit.pixels(number, 8, 8), **parts}


def _refused(*files) -> str:
    with pytest.raises(UserError) as caught:
        archives(files, "shards")
    (problem,) = caught.value.problems
    return problem.message.replace(str(files[0]), "FILE")


def test_the_class_beside_a_picture_is_its_label(tmp_path):
    shard = _shard(tmp_path / "s.tar", *(_sample(n, cls=n % 2) for n in range(4)))
    data = archives([shard], "s.tar")
    assert data.classes == ("0", "1") and data.labels.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(np.asarray(data.read(3)), kit.pixels(3, 8, 8))
    assert data.notes[0] == "classes are those of the samples of s.tar"


def test_an_objects_key_names_the_class(tmp_path):
    samples = (_sample(n, json={"label": "ab"[n % 2], "width": 8}) for n in range(4))
    data = archives([_shard(tmp_path / "s.tar", *samples)], "s.tar")
    assert data.classes == ("a", "b") and data.labels.tolist() == [0, 1, 0, 1]


def test_shards_are_one_data_set_and_their_names_are_its_parts(tmp_path):
    for part, first in (("train-000", 0), ("train-001", 10), ("val-000", 20)):
        _shard(tmp_path / f"{part}.tar", *(_sample(first + n, cls=n % 2) for n in range(3)))
    files = sorted(tmp_path.glob("*.tar"))
    data = archives(files, "shards")
    assert data.official_splits.tolist() == ["train"] * 6 + ["validation"] * 3
    task = open_task(
        TaskSpec(data=str(tmp_path / "train-{000..001}.tar"), split={"train": 2, "test": 2})
    )
    assert task.data is not None and len(task.data) == 6
    lost = open_task(TaskSpec(data=str(tmp_path / "train-{000..002}.tar")))
    assert str(lost.problems[0]).endswith("train-002.tar")


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (_sample(2, cls="0,1"), 'FILE picture 3: label "0,1" is several labels'),
        (_sample(2, cls=0.5), "FILE picture 3: label 0.5 is a real number, which is a regression"),
        (_sample(2), 'FILE: "0002.png" has no 0002.cls and no 0002.json'),
        (
            _sample(2, json={"label": [0, 1]}),
            'FILE picture 3: label "[0, 1]" is a list; raysel does single-label classification',
        ),
        (
            _sample(2, json={"bbox": [0, 0, 4, 4]}),
            'FILE: "0002.json" has no key label; bbox is for detection (boxes); raysel does'
            " single-label classification",
        ),
        (
            {**_sample(2, cls=1), "seg.png": kit.pixels(9, 8, 8)},
            "FILE: sample 0002 has several pictures (png, seg.png); masks and pairs are no"
            " single-label classification",
        ),
    ],
)
def test_what_is_not_one_class_is_one_line(tmp_path, sample, said):
    shard = _shard(tmp_path / "s.tar", _sample(0, cls=0), _sample(1, cls=1), sample)
    assert _refused(shard).startswith(said)


def test_two_layouts_in_one_tar_are_one_line(tmp_path):
    shard = _shard(tmp_path / "s.tar", _sample(0, cls=0), _sample(1, cls=1))
    with tarfile.open(shard, "a") as tar:
        info = tarfile.TarInfo("cat/1.png")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"png"))
    expected = (
        "FILE: holds samples (a picture with a .cls or .json) beside a folder of pictures,"
        ' "cat": two layouts; make two archives'
    )
    assert _refused(shard) == expected


def test_annotations_beside_pictures_of_class_folders_are_no_samples(tmp_path):
    names = {f"{c}/{n}": kit.pixels(n, 8, 8) for c in "ab" for n in range(2)}
    with wds.TarWriter(str(tmp_path / "s.tar")) as writer:
        for name, pixels in names.items():
            writer.write({"__key__": name, "png": pixels, "json": {"camera": 1}})
    data = archives([tmp_path / "s.tar"], "s.tar")
    assert data.classes == ("a", "b") and len(data) == 4


def test_names_with_further_dots_are_refused_with_what_to_write(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for number in range(3):
            for name, content in ((f"img.v{number}.png", b"x"), (f"img.v{number}.cls", b"1")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    said = _refused(tmp_path / "s.tar")
    assert said.startswith('FILE: "img.v0.cls": a sample\'s name ends at its first dot')
    assert said.endswith("write no other dots, img_v0.cls beside its picture")
