"""What was read, said in a few lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pictures_kit as kit
import pytest
from PIL import Image

from raysel.spec.sweep import TaskSpec
from raysel.tasks.data_summary import ClassCount, DataSummary
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import open_task


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """12 cats and 20 dogs to train, 5 each to validate, 6 each to test; a text file, a hidden
    picture."""
    kit.folder(tmp_path / "pets" / "train", ("cat",), each=12)
    kit.folder(tmp_path / "pets" / "train", ("dog",), each=20, first=500)
    kit.folder(tmp_path / "pets" / "val", each=5, first=100)
    kit.folder(tmp_path / "pets" / "test", each=6, first=200)
    (tmp_path / "pets" / "train" / "cat" / "notes.txt").write_text("a note")
    return tmp_path / "pets"


def task(pets: Path, **values: Any) -> TaskSpec:
    return kit.task({"folder": str(pets)}, pets.parent, **{"split": {}, **values})


def test_official_parts_and_what_is_left_out(pets):
    assert open_task(task(pets)).summary().text() == [
        "data     pets: 54 pictures, 2 classes (cat, dog), smallest cat 23, largest dog 31",
        "parts    train 32, validation 10, test 12 (official part, whole)",
        "left out 1 file: 1 no image by the ending (.txt) (train/cat/notes.txt)",
        "         not decoded yet: run, finetune and plan find unreadable pictures, copies and"
        " files of several pages",
    ]


def test_what_was_taken_from_where(pets):
    spec = task(pets, split={"train": 0.5, "validation": 0.2, "test": 8})
    parts = (
        "train 16 (of the official part's 32); validation 10 (official part, whole);"
        " test 8 (of the official part's 12)"
    )
    assert (
        open_task(spec).summary(with_source=False).text()[1] == f"parts    {parts}; 20 in no part"
    )
    source = "source train 14, source validation 2 (drawn from the official train part's 32)"
    assert open_task(spec).summary().text()[1] == f"parts    {parts}; {source}; 4 in no part"
    (note,) = open_task(spec).notes()
    assert note.startswith("task.split.validation: 0.2 is not applied: the data set has a ")
    merged = task(pets, split={"train": 0.5, "validation": 0.2, "test": 0.2, "official": False})
    assert open_task(merged).summary(with_source=False).text()[1] == (
        "parts    train 27, validation 11, test 11 (drawn from its official parts as one);"
        " 5 in no part"
    )


def test_decoding_adds_what_cannot_be_read_and_changes_the_counts(pets):
    (pets / "test" / "dog" / "03.png").write_bytes(b"")
    seen: list[DataSummary] = []
    loaded = load_task(task(pets, max_unreadable_fraction=0.1), opened=seen.append)
    (before,), after = seen, loaded.summary
    assert (before.decoded, after.decoded) == (False, True)
    assert [part.pictures for part in after.parts] == [32, 10, 11]
    lost = after.left_out[-1]
    assert (lost.count, lost.reason) == (1, "cannot be read")
    assert lost.examples == (f"{pets}/test/dog/03.png is empty (0 bytes)",)
    assert (
        open_task(task(pets, max_unreadable_fraction=0.1)).summary() == after
    )  # the store knows it by now


def test_files_of_several_pages_are_reported_once_they_are_decoded(pets):
    folder = pets / "train" / "dog"
    colours = [Image.new("RGB", (20, 20), (10, 200, level)) for level in (0, 90, 180)]
    for name in ("scan.tiff", "moving.gif", "moving.webp", "moving.png"):
        colours[0].putpixel((0, 0), (len(name), ord(name[-1]), 0))  # no copies
        colours[0].save(folder / name, save_all=True, append_images=colours[1:])
    colours[1].save(folder / "one.tiff")
    loaded = load_task(task(pets))
    words = "4 files have more than one page or frame; the first one is read"
    assert loaded.summary.several_pages == 4
    assert f"pages    {words}" in loaded.summary.text()
    (note,) = (note for note in loaded.notes if "page" in note)
    assert note.startswith(f"{words} (")
    assert f"{folder}/scan.tiff" in note
    assert open_task(task(pets)).summary() == loaded.summary  # from the store
    old = {key: v for key, v in loaded.summary.to_dict().items() if key != "several_pages"}
    assert DataSummary.from_dict(old).several_pages == 0  # results.json of an older version


def test_it_is_the_same_after_it_was_json(pets):
    (pets / "test" / "dog" / "new.png").write_bytes((pets / "test/dog/00.png").read_bytes())
    found = load_task(task(pets)).summary
    assert found.duplicates.within == 1
    assert DataSummary.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_embedded_data_are_reported_too():
    spec = TaskSpec.model_validate({"data": "digits", "source": 500})
    assert open_task(spec).summary().text() == [
        "data     digits: 1,797 pictures, 10 classes (0, 1, 2, 3, 4 and 5 more), smallest 8 174,"
        " largest 3 183",
        "parts    train 200, validation 200, test 400, source train 450, source validation 50"
        " (drawn from all 1,797); 497 in no part",
    ]
    assert load_task(spec).summary == open_task(spec).summary()


def test_names_from_outside_do_not_reach_a_terminal_raw(tmp_path):
    kit.folder(tmp_path / "pets", ("a\x1b[31m", "b"), each=12)
    lines = open_task(kit.task({"folder": str(tmp_path / "pets")}, tmp_path)).summary().text()
    assert "\x1b" not in "".join(lines)


def test_data_that_are_not_there_have_no_summary(tmp_path):
    assert open_task(kit.task("pets", tmp_path, root=str(tmp_path))).summary() is None


def test_a_name_that_would_read_as_two_is_quoted():
    assert str(ClassCount("pigs, guinea", 3)) == '"pigs, guinea" 3'
    assert str(ClassCount("pigs", 3)) == "pigs 3"
