"""One picture in several places: found by what it shows, whatever its file is called."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pictures_kit as kit
import pytest
from PIL import Image

from raysel.common.errors import UserError
from raysel.spec.sweep import TaskSpec
from raysel.tasks.data import Task
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import open_task

PARTS = ("train", "val", "test")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Six cats and six dogs in each of train, val and test, no two alike."""
    for number, part in enumerate(PARTS):
        kit.folder(tmp_path / "pets" / part, each=6, first=100 * number)
    return tmp_path / "pets"


def task(pets: Path, **values: Any) -> TaskSpec:
    return kit.task({"folder": str(pets)}, pets.parent, split={}, **values)


def reported(spec: TaskSpec) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_task(spec)
    return [str(problem) for problem in caught.value.problems]


def sizes(loaded: Task) -> list[int]:
    return [len(loaded.train), len(loaded.validation), len(loaded.test)]


def copied(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def saved_again(source: Path, target: Path) -> None:
    """Without loss, with a comment and another compression."""
    with Image.open(source) as picture:
        picture.save(target, compress_level=1, dpi=(72, 72))


def another_format(source: Path, target: Path) -> None:
    with Image.open(source) as picture:
        picture.save(target.with_suffix(".bmp"))


@pytest.mark.parametrize("copy", [copied, saved_again, another_format])
def test_a_training_picture_in_the_test_part_is_refused_by_name(pets, copy):
    copy(pets / "train" / "cat" / "02.png", pets / "test" / "cat" / "new.png")
    assert open_task(task(pets)).problems == ()  # nothing is decoded there
    (line,) = reported(task(pets))
    assert line.startswith("task.data: 1 picture is in more than one part")
    assert f"{pets}/train/cat/02.png (train) = {pets}/test/cat/new." in line
    assert "task.duplicates: drop" in line


def test_of_many_copies_one_of_each_part_is_shown(pets):
    for number in range(3):
        copied(pets / "train" / "cat" / "02.png", pets / "train" / "cat" / f"02-{number}.png")
    copied(pets / "train" / "cat" / "02.png", pets / "test" / "cat" / "new.png")
    (line,) = reported(task(pets))
    assert "02-0.png (train) = " in line and "new.png (test) = " in line and " and 2 more" in line


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_is_refused_before_anything_is_decoded(pets, link):
    link(pets / "train" / "dog" / "00.png", pets / "val" / "dog" / "new.png")
    (problem,) = open_task(task(pets)).problems
    assert problem.message.startswith("1 picture is in more than one part")


def test_a_picture_with_two_labels_is_a_line_of_its_own(pets):
    copied(pets / "train" / "cat" / "02.png", pets / "test" / "cat" / "new.png")
    copied(pets / "train" / "cat" / "03.png", pets / "train" / "dog" / "new.png")
    across, labels = reported(task(pets))
    assert across.startswith("task.data: 1 picture is in more than one part")
    assert labels.startswith("task.data: 1 picture has more than one label: ")
    assert '03.png (train, "cat") = ' in labels and 'new.png (train, "dog")' in labels


def test_copies_within_a_part_are_a_note(pets):
    copied(pets / "train" / "cat" / "02.png", pets / "train" / "cat" / "new.png")
    loaded = load_task(task(pets))
    assert sizes(loaded) == [13, 12, 12]
    (note,) = loaded.notes
    assert note.startswith("copies of one picture: 1 several times in one part; kept")
    assert loaded.summary.duplicates.within == 1


def test_dropped_copies_stay_where_they_are_tested(pets):
    copied(pets / "train" / "cat" / "02.png", pets / "test" / "cat" / "new.png")
    copied(pets / "val" / "dog" / "03.png", pets / "train" / "dog" / "new.png")
    copied(pets / "test" / "dog" / "04.png", pets / "test" / "dog" / "new.png")
    loaded = load_task(task(pets, duplicates="drop"))
    # train lost 02.png and the new dog, test the second of two dogs
    assert sizes(loaded) == [11, 12, 13]
    gone = [Path(str(one["file"])).relative_to(pets) for one in loaded.record["dropped_copies"]]
    assert sorted(map(str, gone)) == ["test/dog/new.png", "train/cat/02.png", "train/dog/new.png"]
    assert loaded.summary.duplicates.dropped == 3
    assert [part.pictures for part in loaded.summary.parts] == [11, 12, 13]


def test_of_a_picture_with_two_labels_no_copy_is_kept_where_they_are_dropped(pets):
    copied(pets / "train" / "cat" / "02.png", pets / "test" / "dog" / "new.png")
    assert sizes(load_task(task(pets, duplicates="drop"))) == [11, 12, 12]


def test_copies_are_kept_where_the_file_says_so(pets):
    copied(pets / "train" / "cat" / "02.png", pets / "test" / "dog" / "new.png")
    loaded = load_task(task(pets, duplicates="keep"))
    assert sizes(loaded) == [12, 12, 13]
    counts = loaded.summary.duplicates
    assert (counts.across, counts.two_labels, counts.policy) == (1, 1, "keep")


def test_a_class_that_loses_all_its_pictures_is_reported(pets):
    shutil.rmtree(pets / "train" / "dog")
    shutil.copytree(pets / "test" / "dog", pets / "train" / "dog")
    (line,) = reported(task(pets, duplicates="drop"))
    assert line == (
        'task.split.train: no picture of class "dog" is left once its copies are dropped'
    )


@pytest.mark.parametrize("preprocess", ["model", "unit", "data"])
def test_the_copies_are_known_again_without_decoding(pets, preprocess):
    copied(pets / "train" / "cat" / "02.png", pets / "test" / "cat" / "new.png")
    spec = task(pets, preprocess=preprocess)
    assert open_task(spec).summary().decoded is False
    reported(spec)
    with pytest.raises(UserError, match="1 picture is in more than one part"):
        open_task(spec).summary()
    assert (
        open_task(task(pets, preprocess=preprocess, duplicates="keep")).summary().duplicates.across
        == 1
    )


def test_a_shift_that_differs_from_picture_to_picture_hides_no_copy(pets):
    copied(pets / "train" / "cat" / "02.png", pets / "test" / "cat" / "new.png")
    (line,) = reported(task(pets, shift={"kind": "gaussian_noise"}))
    assert line.startswith("task.data: 1 picture is in more than one part")


def test_two_spellings_of_a_path_in_a_table_are_one_picture(tmp_path):
    kit.folder(tmp_path / "pets", each=10)
    rows = [f"pets/{name}/{n:02d}.png,{name},train" for name in ("cat", "dog") for n in range(10)]
    rows += [f"./pets/{name}/0{n}.png,{name},test" for name in ("cat", "dog") for n in range(2)]
    rows += ["pets/dog/../cat/05.png,dog,train"]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,split", *rows]))
    spec = kit.task({"csv": str(tmp_path / "labels.csv")}, tmp_path, split={"validation": 4})
    across, labels = open_task(spec).problems
    assert across.message.startswith("4 pictures are in more than one part")
    assert labels.message.startswith("1 picture has more than one label")


def test_a_data_set_known_by_name_keeps_its_copies_unless_asked_otherwise():
    assert TaskSpec(data="pets").duplicates_policy == "keep"
    assert TaskSpec(data="pets", duplicates="error").duplicates_policy == "error"
    assert TaskSpec.model_validate({"data": {"folder": "x"}}).duplicates_policy == "error"
