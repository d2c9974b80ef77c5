"""Folders in Hugging Face's form: pictures beside a table of their labels."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from raysel.common.errors import UserError
from raysel.spec.reader import parse
from raysel.spec.task import TaskSpec
from raysel.tasks.datasets import open_pictures
from raysel.tasks.opened_task import open_task
from raysel.tasks.readers.metadata import metadata_folder


def pictures(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)


def as_csv(folder: Path, labels: dict[str, object], **columns: object) -> None:
    rows = {"file_name": list(labels), "label": list(labels.values()), **columns}
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)


def as_jsonl(folder: Path, labels: dict[str, object]) -> None:
    rows = pd.DataFrame({"file_name": list(labels), "label": list(labels.values())})
    rows.to_json(folder / "metadata.jsonl", orient="records", lines=True)


TRAIN: dict[str, object] = {"0.png": "oak", "1.png": "elm", "sub/2.png": "elm"}
TEST: dict[str, object] = {"a.png": "elm", "b.png": "oak"}


@pytest.mark.parametrize("write", [as_csv, as_jsonl])
def test_a_table_in_each_part_gives_labels_and_parts(tmp_path, write):
    for part, labels in {"train": TRAIN, "test": TEST}.items():
        pictures(tmp_path / part, list(labels))
        write(tmp_path / part, labels)
    read = metadata_folder(tmp_path)
    assert read is not None
    names = [Path(str(source)).relative_to(tmp_path).as_posix() for source in read.sources]
    assert names == ["train/0.png", "train/1.png", "train/sub/2.png", "test/a.png", "test/b.png"]
    assert [read.classes[label] for label in read.labels] == [*TRAIN.values(), *TEST.values()]
    assert list(read.official_splits) == ["train"] * 3 + ["test"] * 2
    assert read.name == tmp_path.name
    assert read.left_out == ()
    assert "test/metadata." in read.notes[0]


def test_a_table_above_all_has_its_parts_by_the_folders(tmp_path):
    labels = {f"train/{name}": label for name, label in TRAIN.items()}
    labels |= {f"validation/{name}": label for name, label in TEST.items()}
    pictures(tmp_path, list(labels))
    as_csv(tmp_path, labels)
    read = metadata_folder(tmp_path)
    assert list(read.official_splits) == ["train"] * 3 + ["validation"] * 2


def test_a_table_without_parts_has_none(tmp_path):
    pictures(tmp_path, list(TRAIN))
    as_csv(tmp_path, TRAIN, text=["an oak", "an elm", "another"])
    read = metadata_folder(tmp_path)
    assert read.official_splits is None
    assert read.classes == ("elm", "oak")


def test_numbers_of_classes_mean_the_same_in_every_part(tmp_path):
    for part, labels in {
        "train": {"a.png": 0, "b.png": 1, "c.png": 2},
        "test": {"d.png": 2},
    }.items():
        pictures(tmp_path / part, list(labels))
        as_csv(tmp_path / part, labels)
    read = metadata_folder(tmp_path)
    assert (read.classes, list(read.labels)) == (("0", "1", "2"), [0, 1, 2, 2])


def test_class_folders_give_the_labels_where_there_are_some(tmp_path):
    pictures(tmp_path, ["elm/0.png", "oak/1.png"])
    as_csv(tmp_path, {"elm/0.png": "a caption", "oak/1.png": "another"})
    assert metadata_folder(tmp_path) is None
    folder = json.dumps(str(tmp_path))
    spec = parse(
        f"name: a\ntask: {{data: {{folder: {folder}}}}}\nmodel: {{name: test_resnet}}\n"
        "strategies: {full: }\n"
    )
    assert open_pictures(spec.task).classes == ("elm", "oak")


def test_the_sweep_file_names_the_folder(tmp_path):
    pictures(tmp_path, list(TRAIN))
    as_csv(tmp_path, TRAIN)
    folder = json.dumps(str(tmp_path))
    spec = parse(
        f"name: a\ntask: {{data: {{folder: {folder}}}}}\nmodel: {{name: test_resnet}}\n"
        "strategies: {full: }\n"
    )
    assert open_pictures(spec.task).classes == ("elm", "oak")


def problem(folder: Path) -> str:
    with pytest.raises(UserError) as raised:
        metadata_folder(folder)
    return str(raised.value)


def test_a_part_without_a_table_is_named(tmp_path):
    for part, labels in {"train": TRAIN, "test": TEST}.items():
        pictures(tmp_path / part, list(labels))
    as_csv(tmp_path / "train", TRAIN)
    assert '"train" has a metadata.csv, "test" has none; write one' in problem(tmp_path)


def test_two_tables_of_one_folder_are_refused(tmp_path):
    pictures(tmp_path, list(TRAIN))
    as_csv(tmp_path, TRAIN)
    as_jsonl(tmp_path, TRAIN)
    assert "holds metadata.csv and metadata.jsonl; remove one" in problem(tmp_path)


def test_several_labels_of_a_picture_are_refused(tmp_path):
    pictures(tmp_path, list(TRAIN))
    as_jsonl(tmp_path, {"0.png": ["oak", "elm"], "1.png": ["elm"], "sub/2.png": ["oak"]})
    message = problem(tmp_path)
    assert "metadata.jsonl line 1" in message
    assert "single-label classification" in message


def test_a_picture_that_is_not_there_is_named(tmp_path):
    pictures(tmp_path, ["0.png", "1.png"])
    as_csv(tmp_path, TRAIN)
    assert any("2.png" in note for note in metadata_folder(tmp_path).notes)


def test_what_is_wrong_in_one_part_is_said_of_its_table(tmp_path):
    for part, labels in {"train": TRAIN, "test": {"a.png": "elm", "b.png": ["oak"]}}.items():
        pictures(tmp_path / part, list(labels))
        as_jsonl(tmp_path / part, labels)
    assert "test/metadata.jsonl line 2" in problem(tmp_path)


def _groups_of(folder: Path, *columns: str) -> list[str]:
    read = open_pictures(TaskSpec(data={"folder": str(folder), "group_column": columns}))
    assert read.groups is not None and len(read.groups) == len(read)
    return [read.groups.names[number] for number in read.groups.numbers]


def test_a_column_of_the_table_makes_groups(tmp_path):
    for part, labels in {"train": TRAIN, "test": TEST}.items():
        pictures(tmp_path / part, list(labels))
        as_csv(tmp_path / part, labels, camera=[f"c{n % 2}" for n in range(len(labels))])
    assert _groups_of(tmp_path, "camera") == ["c0", "c1", "c0", "c0", "c1"]
    expected = ["oak, c0", "elm, c1", "elm, c0", "elm, c0", "oak, c1"]
    assert _groups_of(tmp_path, "label", "camera") == expected


CLASSES = ["train/elm/0.png", "train/oak/1.png", "test/elm/2.png", "test/oak/3.png"]


@pytest.fixture
def class_folders(tmp_path):
    pictures(tmp_path, CLASSES)
    rows = {"file_name": list(reversed(CLASSES)), "camera": ["d", "c", "b", "a"]}
    pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path


def test_a_table_beside_class_folders_makes_groups(class_folders):
    # the data set's order: train before test, classes by name
    assert _groups_of(class_folders, "camera") == ["a", "b", "c", "d"]
    expected = ["elm, a", "oak, b", "elm, c", "oak, d"]
    assert _groups_of(class_folders, "label", "camera") == expected


def test_a_table_in_each_part_beside_class_folders_makes_groups(tmp_path):
    pictures(tmp_path, CLASSES)
    for part in ("train", "test"):
        own = [name.removeprefix(f"{part}/") for name in CLASSES if name.startswith(part)]
        rows = pd.DataFrame({"file_name": own, "camera": [part, "both"]})
        rows.to_json(tmp_path / part / "metadata.jsonl", orient="records", lines=True)
    assert _groups_of(tmp_path, "camera") == ["train", "both", "test", "both"]


def test_what_is_no_group_of_class_folders_is_one_line(class_folders):
    def refused(column: str) -> str:
        (found,) = open_task(
            TaskSpec(data={"folder": str(class_folders), "group_column": column})
        ).problems
        return str(found).replace(str(class_folders), "FOLDER")

    assert 'has no column "camra"; did you mean "camera"?' in refused("camra")
    table = class_folders / "metadata.csv"
    whole = table.read_text()
    table.write_text(whole.replace(",b", ","))
    assert 'metadata.csv line 4: "camera" is empty: no group' in refused("camera")
    table.write_text(whole.replace("train/oak/1.png,b\n", ""))
    assert refused("camera") == (
        "task.data.group_column: metadata.csv in FOLDER has no row of train/oak/1.png, and so no"
        " group of it"
    )
    table.unlink()
    assert refused("camera") == (
        "task.data.group_column: FOLDER holds no metadata.csv or metadata.jsonl, which has the"
        " columns of groups"
    )


def test_without_groups_a_folder_is_written_as_it_always_was(tmp_path):
    written = TaskSpec(data={"folder": "photos"}).model_dump(mode="json")["data"]
    assert written == {"folder": "photos", "nested": None}
    grouped = TaskSpec(data={"folder": "photos", "group_column": "camera"})
    assert TaskSpec.model_validate(grouped.model_dump(mode="json")) == grouped


def test_what_the_hubs_own_library_reads_is_read_so(tmp_path):
    datasets = pytest.importorskip("datasets", reason='pip install "raysel[hub]"')
    for part, labels in {"train": TRAIN, "test": TEST}.items():
        pictures(tmp_path / "set" / part, list(labels))
        as_jsonl(tmp_path / "set" / part, labels)
    theirs = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    expected = {
        (row["image"]["path"], row["label"], part)
        for part, rows in theirs.items()
        for row in rows.cast_column("image", datasets.Image(decode=False))
    }
    ours = open_pictures(TaskSpec(data={"folder": str(tmp_path / "set")}))
    parts = zip(ours.sources, ours.labels, ours.official_splits, strict=True)
    assert {(str(file), ours.classes[label], str(part)) for file, label, part in parts} == expected
