import os
from pathlib import Path

import numpy as np
import pytest
from pictures_kit import folder, picture

from raysel.errors import UserError
from raysel.tasks.folders import image_folder
from raysel.tasks.image_files import HIDDEN, SYSTEM
from raysel.tasks.pictures import LeftOut


def _told(root) -> str:
    with pytest.raises(UserError) as caught:
        image_folder(root)
    (problem,) = caught.value.problems
    assert problem.path == "task.data"
    return problem.message


def test_a_class_is_a_folder_and_its_pictures_are_in_the_order_of_their_names(tmp_path):
    pictures = image_folder(folder(tmp_path / "pets", each=3))
    assert pictures.name == "pets"
    assert pictures.classes == ("cat", "dog")
    assert pictures.labels.tolist() == [0, 0, 0, 1, 1, 1]
    names = [path.relative_to(tmp_path / "pets").as_posix() for path in pictures.sources]
    assert names == [f"{c}/{n:02d}.png" for c in ("cat", "dog") for n in range(3)]
    assert pictures.pools is None


def test_split_folders_are_parts(tmp_path):
    for part, each in (("train", 3), ("val", 2), ("test", 1)):
        folder(tmp_path / part, each=each)
    pictures = image_folder(tmp_path)
    assert pictures.classes == ("cat", "dog")
    assert pictures.pools is not None
    parts, counts = np.unique(pictures.pools, return_counts=True)
    assert dict(zip(parts.tolist(), counts.tolist(), strict=True)) == {
        **{"train": 6, "validation": 4, "test": 2}
    }
    for path, pool in zip(pictures.sources, pictures.pools, strict=True):
        assert path.relative_to(tmp_path).parts[0][:3] == pool[:3]


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("Training", "Validation", "Testing"), ("train", "dev", "test"), ("train", "eval", "TEST")],
)
def test_parts_go_by_many_names(tmp_path, train, validation, test):
    for part in (train, validation, test):
        folder(tmp_path / part, each=1)
    pictures = image_folder(tmp_path)
    assert pictures.classes == ("cat", "dog")
    assert pictures.pools is not None
    assert sorted(set(pictures.pools)) == ["test", "train", "validation"]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (
            ("train", "val", "unlabeled"),
            'holds "unlabeled" beside "train", "val": a part, or a class? Move it elsewhere, or'
            " name it train, val or test",
        ),
        (("test", "val"), 'holds the parts "test", "val" and no train'),
    ],
)
def test_a_folder_that_is_half_of_parts_is_refused(tmp_path, parts, told):
    for part in parts:
        folder(tmp_path / part)
    assert _told(tmp_path) == f"{tmp_path} {told}"


def test_a_class_that_is_called_test_beside_others_is_a_class(tmp_path):
    assert image_folder(folder(tmp_path, ("crash", "test"), 2)).classes == ("crash", "test")


def test_a_test_folder_may_lack_a_class(tmp_path):
    folder(tmp_path / "train")
    folder(tmp_path / "test", ("dog",), 2)
    assert image_folder(tmp_path).labels[-2:].tolist() == [1, 1]


def test_files_that_are_not_taken_are_counted_by_reason(tmp_path):
    folder(tmp_path, each=2)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "cat" / "notes.txt").write_bytes(b"x")
    (tmp_path / "cat" / "README").write_bytes(b"x")
    picture(tmp_path / ".git" / "a.png")
    picture(tmp_path / "__MACOSX" / "cat" / "._00.png")
    picture(tmp_path / "@eaDir" / "b.png")
    picture(tmp_path / "dog" / "@eaDir" / "00.png" / "thumb.jpg")
    picture(tmp_path / "dog" / ".thumbnails" / "c.png")
    pictures = image_folder(tmp_path)
    assert pictures.classes == ("cat", "dog")
    assert len(pictures) == 4
    assert pictures.left_out == (
        LeftOut(SYSTEM, 4, ("cat/Thumbs.db", "dog/@eaDir/00.png/thumb.jpg", "@eaDir/b.png")),
        LeftOut(HIDDEN, 3, ("cat/.DS_Store", "dog/.thumbnails/c.png", ".git/a.png")),
        LeftOut("no image by the ending (.txt)", 1, ("cat/notes.txt",)),
        LeftOut("without an ending", 1, ("cat/README",)),
    )


def test_pictures_below_a_class_and_in_upper_case_are_found(tmp_path):
    folder(tmp_path, each=1)
    picture(tmp_path / "dog" / "more" / "LAST.JPG")
    assert image_folder(tmp_path).labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("part", ["", "train"])
def test_a_picture_beside_the_classes_is_named(tmp_path, part):
    root = folder(tmp_path / part, each=1)
    picture(tmp_path / "whole.jpg")
    picture(root / "last.jpg")
    pictures = image_folder(tmp_path)
    assert len(pictures) == 2
    names = ("whole.jpg", f"{part}/last.jpg") if part else ("last.jpg", "whole.jpg")
    assert pictures.left_out == (LeftOut("beside the class folders", 2, names),)


def test_a_link_to_a_folder_is_followed_but_not_in_circles(tmp_path):
    root = folder(tmp_path / "pets", each=1)
    picture(tmp_path / "elsewhere" / "z.png")
    (root / "dog" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "dog" / "again").symlink_to(root / "dog")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path)
    pictures = image_folder(root)
    names = [path.relative_to(root).as_posix() for path in pictures.sources]
    assert names == ["cat/00.png", "dog/00.png", "dog/more/z.png"]


def test_an_empty_class_is_refused(tmp_path):
    folder(tmp_path)
    (tmp_path / "eel").mkdir()
    assert _told(tmp_path) == f"class folder {tmp_path / 'eel'} is empty"


def test_two_classes_that_differ_in_case_alone_are_refused(tmp_path):
    folder(tmp_path, ("Cat", "cat", "dog"))
    assert _told(tmp_path) == 'classes "Cat" and "cat" differ in upper and lower case alone'


def test_a_class_of_the_test_folder_that_training_lacks_is_refused(tmp_path):
    folder(tmp_path / "train")
    folder(tmp_path / "test", ("dog", "eel"))
    assert _told(tmp_path) == f'{tmp_path / "test"} holds "eel", which the training part does not'


def test_a_folder_of_pictures_without_classes_is_refused(tmp_path):
    picture(tmp_path / "a.jpg")
    assert "holds no class; expected a folder a class" in _told(tmp_path)


def test_one_part_under_two_names_is_refused(tmp_path):
    for part in ("train", "val", "valid"):
        folder(tmp_path / part)
    assert "name one part twice" in _told(tmp_path)


@pytest.mark.parametrize("refused", ["pets", "dog"])
def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch, refused):
    root = folder(tmp_path / "pets", each=3)
    scandir = os.scandir

    def denied(path):
        if Path(path).name == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert _told(root).endswith(f"{refused} cannot be read: Permission denied")
