"""Parquet as Hugging Face's `datasets` writes it, and as others do."""

import io
import json

import numpy as np
import pictures_kit as kit
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysel.common.errors import UserError
from raysel.spec.task import TaskSpec
from raysel.tasks.datasets import open_pictures
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import open_task
from raysel.tasks.readers.byte_columns import AskedColumns
from raysel.tasks.readers.parquet import parquet


def _png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(kit.pixels(seed, 8, 8)).save(file, "png")
    return file.getvalue()


def _table(path, group_size=2, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group_size)
    return path


def _images(count, first=0):
    return [{"bytes": _png(first + n), "path": f"{n}.png"} for n in range(count)]


def _refused(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        parquet([path], path.name, AskedColumns(**options))
    (problem,) = caught.value.problems
    return f"{problem.path}: {problem.message}".replace(str(path), "FILE")


def test_what_the_hubs_own_library_wrote_is_read_with_its_class_names(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["newt", "axolotl"])}
    )
    pictures = [Image.fromarray(kit.pixels(n, 8, 8)) for n in range(4)]
    made = datasets.Dataset.from_dict({"image": pictures, "label": [1, 0, 1, 0]}, features)
    made.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    data = parquet([tmp_path / "train-00000-of-00001.parquet"], "amphibians")
    assert data.classes == ("newt", "axolotl") and data.labels.tolist() == [1, 0, 1, 0]
    assert data.notes == ("pictures are in the column image, labels in label",)
    for number in range(4):
        np.testing.assert_array_equal(np.asarray(data.read(number)), kit.pixels(number, 8, 8))


def test_a_picture_is_found_in_its_row_group(tmp_path):
    path = _table(tmp_path / "x.parquet", img=[_png(n) for n in range(7)], species=list("abababa"))
    data = parquet([path], "x")
    for number in (6, 0, 3, 2):
        np.testing.assert_array_equal(np.asarray(data.read(number)), kit.pixels(number, 8, 8))
    assert data.where(6) == f"{path}/6" and data.classes == ("a", "b")


def test_a_folder_of_parquet_is_read_with_the_parts_of_its_names(tmp_path):
    for part, first, count in (("train", 0, 24), ("validation", 100, 4), ("test", 200, 4)):
        path = tmp_path / "set" / "data" / f"{part}-00000-of-00001.parquet"
        _table(path, image=_images(count, first), label=[n % 2 for n in range(count)])
    spec = TaskSpec(
        data={"folder": str(tmp_path / "set")},
        image_size=8,
        preprocess="unit",
        cache=str(tmp_path / "cache"),
        split={"train": "all"},
    )
    task = load_task(spec)
    assert (len(task.train), len(task.validation), len(task.test)) == (24, 4, 4)
    same = load_task(
        spec.model_copy(update={"data": TaskSpec(data=str(tmp_path / "set/data/*.parquet")).data})
    )
    assert same.train.labels.tolist() == task.train.labels.tolist()


def test_a_row_without_a_picture_is_an_unreadable_picture(tmp_path):
    images = _images(40)
    images[3] = {"bytes": None, "path": "lost.png"}
    path = _table(tmp_path / "x.parquet", 8, image=images, label=[n % 2 for n in range(40)])
    spec = TaskSpec(
        data=str(path),
        image_size=8,
        cache=str(tmp_path / "cache"),
        max_unreadable_fraction=0.2,
        split={"train": "all", "validation": 4, "test": 4},
    )
    task = load_task(spec)
    (line,) = [note for note in task.notes if "cannot be read" in note]
    assert f"{path}/3" in line


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"file": ["a", "b"], "label": [0, 1]},
            "task.data: FILE has no column of pictures (their bytes, or an object with bytes); its"
            " columns are file, label",
        ),
        (
            {"image": _images(2), "objects": [[1], [2]]},
            "task.data: FILE has no column of labels: objects is for detection (boxes); raysel does"
            " single-label classification",
        ),
        (
            {"image": _images(2), "mask": _images(2)},
            "task.data: FILE has no column of labels: mask is for segmentation (masks)",
        ),
        (
            {"image": _images(2), "label": [[0, 1], [1]]},
            'task.data: FILE: the column "label" holds lists, several labels a picture; raysel',
        ),
        (
            {"image": _images(2), "label": [0.25, 1.5]},
            "task.data: FILE picture 1: label 0.25 is a real number, which is a regression task",
        ),
        ({"image": _images(2), "label": ["a", None]}, "task.data: FILE picture 2: the label is"),
        (
            {"left": _images(2), "right": _images(2), "label": [0, 1]},
            "task.data: FILE has several columns of pictures: left, right; write"
            " task.data.image_column: left",
        ),
    ],
)
def test_what_is_not_one_picture_and_one_class_is_one_line(tmp_path, columns, said):
    assert _refused(_table(tmp_path / "x.parquet", **columns)).startswith(said)


def test_columns_may_be_named(tmp_path):
    path = _table(tmp_path / "x.parquet", left=_images(2), right=_images(2, 9), kind=["a", "b"])
    data = parquet([path], "x", AskedColumns("right", "kind"))
    np.testing.assert_array_equal(np.asarray(data.read(0)), kit.pixels(9, 8, 8))
    wrong = _refused(path, image="middle", label="kind")
    assert wrong.startswith('task.data.image_column: FILE has no column "middle"')
    assert "holds string, no pictures" in _refused(path, image="kind")
    assert _refused(path, image="left", label="sort").startswith("task.data.label_column: FILE")


def test_a_column_makes_groups_by_the_names_of_its_classes(tmp_path):
    datasets = pytest.importorskip("datasets", reason='pip install "raysel[hub]"')
    kinds = {"label": datasets.ClassLabel(names=["newt", "axolotl"]), "image": datasets.Image()}
    kinds |= {
        "place": datasets.ClassLabel(names=["land", "water"]),
        "year": datasets.Value("int32"),
    }
    columns = {
        "image": [Image.fromarray(kit.pixels(n, 8, 8)) for n in range(12)],
        "label": [n % 2 for n in range(12)],
        "place": [n % 3 > 0 for n in range(12)],
        "year": [2000 + n % 2 for n in range(12)],
    }
    made = datasets.Dataset.from_dict(columns, datasets.Features(kinds))
    made.to_parquet(tmp_path / "x.parquet")
    asked = AskedColumns(label="label", groups=("label", "place"))
    data = parquet([tmp_path / "x.parquet"], "x", asked)
    names = [data.groups.names[number] for number in data.groups.numbers]
    expected = [f"{('newt', 'axolotl')[n % 2]}, {('land', 'water')[n % 3 > 0]}" for n in range(12)]
    assert names == expected and data.groups.columns == ("label", "place")
    by_year = parquet([tmp_path / "x.parquet"], "x", AskedColumns(label="label", groups=("year",)))
    assert by_year.groups.names == ("2000", "2001")


def test_the_groups_of_several_files_are_those_of_all(tmp_path):
    for part, sites in (("train", "aab"), ("test", "cc")):
        count = len(sites)
        rows = {"image": _images(count), "label": [n % 2 for n in range(count)]}
        _table(tmp_path / "set" / f"{part}-0.parquet", site=list(sites), **rows)
    spec = TaskSpec(data={"folder": str(tmp_path / "set"), "group_column": "site"})
    groups = open_pictures(spec).groups
    assert groups.names == ("a", "b", "c") and groups.numbers.tolist() == [2, 2, 0, 0, 1]


@pytest.mark.parametrize(
    ("sites", "column", "said"),
    [
        (
            ["a", "b"],
            "sit",
            'task.data.group_column: FILE has no column "sit"; did you mean "site"?',
        ),
        (["a", None], "site", 'task.data: FILE picture 2: "site" is empty: no group'),
        (["a", "a"], "site", "task.data.group_column: site has the one value a; groups need two"),
        ([[1], [2]], "site", 'task.data.group_column: FILE: column "site" holds list<'),
    ],
)
def test_what_is_no_group_is_one_line(tmp_path, sites, column, said):
    path = _table(tmp_path / "x.parquet", image=_images(2), label=[0, 1], site=sites)
    assert _refused(path, label="label", groups=(column,)).startswith(said)


def test_a_damaged_file_and_one_of_another_data_set_are_one_line(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    assert _refused(tmp_path / "x.parquet").startswith("task.data: FILE cannot be read: ")
    first = _table(tmp_path / "a.parquet", image=_images(2), label=[0, 1])
    other = _table(tmp_path / "b.parquet", image=_images(2), kind=[0, 1], label=[0, 1])
    assert len(parquet([first, other], "both")) == 4
    other = _table(tmp_path / "b.parquet", picture=_images(2), label=[0, 1])
    with pytest.raises(UserError, match="has other columns or classes than"):
        parquet([first, other], "both")


def test_a_columns_description_that_is_no_json_does_no_harm(tmp_path):
    table = pa.table({"image": _images(2), "label": [0, 1]})
    for text in (b"no json", json.dumps({"info": 3}).encode()):
        pq.write_table(table.replace_schema_metadata({"huggingface": text}), tmp_path / "x.parquet")
        assert parquet([tmp_path / "x.parquet"], "x").classes == ("0", "1")


def test_validate_says_it_in_one_line(tmp_path):
    path = _table(tmp_path / "x.parquet", image=_images(2), caption=["a", "b"])
    (problem,) = open_task(TaskSpec(data=str(path))).problems
    assert "caption is for captions; raysel does single-label classification" in str(problem)
