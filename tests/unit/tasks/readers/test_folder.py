import os
from pathlib import Path

import numpy as np
import pytest
from pictures_kit import folder, picture

from raysel.common.errors import UserError
from raysel.spec.task import SplitSpec
from raysel.tasks.image_dataset import LeftOut
from raysel.tasks.image_files import HIDDEN, SYSTEM
from raysel.tasks.readers.folder import image_folder
from raysel.tasks.splits import split


def _reported(root) -> str:
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
    assert pictures.official_splits is None


def test_split_folders_are_parts(tmp_path):
    for part, each in (("train", 3), ("val", 2), ("test", 1)):
        folder(tmp_path / part, each=each)
    pictures = image_folder(tmp_path)
    assert pictures.classes == ("cat", "dog")
    assert pictures.official_splits is not None
    parts, counts = np.unique(pictures.official_splits, return_counts=True)
    assert dict(zip(parts.tolist(), counts.tolist(), strict=True)) == {
        **{"train": 6, "validation": 4, "test": 2}
    }
    for path, pool in zip(pictures.sources, pictures.official_splits, strict=True):
        assert path.relative_to(tmp_path).parts[0][:3] == pool[:3]


def test_pictures_for_the_source_model_have_a_folder_of_their_own(tmp_path):
    for part, each in (("source", 12), ("train", 6), ("test", 3)):
        folder(tmp_path / part, each=each)
    pictures = image_folder(tmp_path)
    assert pictures.official_splits is not None
    sizes = SplitSpec(train=4, validation=4, test="all")
    parts = split(pictures.labels, pictures.classes, sizes, None, pictures.official_splits)
    folders = {
        name: {pictures.sources[place].relative_to(tmp_path).parts[0] for place in places}
        for name, places in vars(parts).items()
    }
    assert folders == {
        **{"train": {"train"}, "validation": {"train"}, "test": {"test"}},
        **{"source_train": {"source"}, "source_validation": {"source"}},
    }
    assert len(parts.source_train) + len(parts.source_validation) == 24


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("Training", "Validation", "Testing"), ("train", "dev", "test"), ("train", "eval", "TEST")],
)
def test_parts_go_by_many_names(tmp_path, train, validation, test):
    for part in (train, validation, test):
        folder(tmp_path / part, each=1)
    pictures = image_folder(tmp_path)
    assert pictures.classes == ("cat", "dog")
    assert pictures.official_splits is not None
    assert sorted(set(pictures.official_splits)) == ["test", "train", "validation"]


@pytest.mark.parametrize(
    ("parts", "reported"),
    [
        (
            ("train", "val", "unlabeled"),
            'holds "unlabeled" beside "train", "val": a part, or a class? Move it elsewhere, or'
            " name it train, val or test",
        ),
        (("test", "val"), 'holds the parts "test", "val" and no train'),
    ],
)
def test_a_folder_that_is_half_of_parts_is_refused(tmp_path, parts, reported):
    for part in parts:
        folder(tmp_path / part)
    assert _reported(tmp_path) == f"{tmp_path} {reported}"


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
    twice = LeftOut(
        "a link to a folder that is looked through already", 2, ("dog/more/up", "dog/again")
    )
    assert pictures.left_out == (twice,)


def test_an_empty_class_is_refused(tmp_path):
    folder(tmp_path)
    (tmp_path / "eel").mkdir()
    assert _reported(tmp_path) == f"class folder {tmp_path / 'eel'} is empty"


def test_two_classes_that_differ_in_case_alone_are_refused(tmp_path):
    folder(tmp_path, ("Cat", "cat", "dog"))
    reported = _reported(tmp_path)
    assert reported.startswith(
        'classes "Cat" and "cat" differ in upper and lower case alone; rename'
    )


def test_a_class_of_the_test_folder_that_training_lacks_is_refused(tmp_path):
    folder(tmp_path / "train")
    folder(tmp_path / "test", ("dog", "eel"))
    assert (
        _reported(tmp_path) == f'{tmp_path / "test"} holds "eel", which the training part does not'
    )


def test_a_folder_of_pictures_without_classes_is_refused(tmp_path):
    picture(tmp_path / "a.jpg")
    assert "holds no class; expected a folder a class" in _reported(tmp_path)


def test_one_part_under_two_names_is_refused(tmp_path):
    for part in ("train", "val", "valid"):
        folder(tmp_path / part)
    assert "name one part twice" in _reported(tmp_path)


@pytest.mark.parametrize("refused", ["pets", "dog"])
def test_a_folder_that_may_not_be_read_is_reported(tmp_path, monkeypatch, refused):
    root = folder(tmp_path / "pets", each=3)
    scandir = os.scandir

    def denied(path):
        if Path(path).name == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert _reported(root).endswith(f"{refused} cannot be read: Permission denied")


@pytest.mark.parametrize("ending", ["jfif", "JPE", "avif", "jp2"])
def test_all_that_pillow_reads_is_taken(tmp_path, ending):
    folder(tmp_path, each=1)
    (tmp_path / "cat" / f"x.{ending}").write_bytes(b"by its name alone")
    assert len(image_folder(tmp_path)) == 3


# --- one class -------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["", "train"])
def test_a_single_class_is_refused(tmp_path, part):
    folder(tmp_path / part, ("cat",))
    reported = _reported(tmp_path)
    assert reported.endswith('has one class alone, "cat"; a classification needs two or more')


def test_images_beside_a_table_are_no_class(tmp_path):
    folder(tmp_path, ("images",))
    (tmp_path / "labels.csv").write_text("file,label\n")
    table, images = tmp_path / "labels.csv", tmp_path / "images"
    assert f"A table is given as task.data: {{csv: {table}, root: {images}}}" in _reported(tmp_path)


@pytest.mark.parametrize("given", [".", "images"])
def test_boxes_of_a_detector_are_said_to_be_that(tmp_path, given):
    """YOLO's layout: a text file of boxes for each picture, in `labels` beside `images`."""
    for part in ("train", "val"):
        for name in ("a", "b"):
            picture(tmp_path / "images" / part / f"{name}.png")
            text = tmp_path / "labels" / part / f"{name}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("0 0.5 0.5 0.2 0.2\n")
    found = _reported(tmp_path / given)
    assert "holds boxes for a detector; raysel does single-label classification" in found


@pytest.mark.parametrize("name", ["annotations.json", "000001.xml"])
def test_images_beside_annotations_are_no_class(tmp_path, name):
    folder(tmp_path, ("images",))
    (tmp_path / name).write_text("{}")
    assert f'Annotations such as "{name}" are not read; write a table' in _reported(tmp_path)


def test_a_folder_around_the_classes_is_named(tmp_path):
    folder(tmp_path / "dataset")
    assert f"Did you mean task.data: {{folder: {tmp_path / 'dataset'}}}?" in _reported(tmp_path)


def test_a_folder_around_the_parts_is_named(tmp_path):
    for part in ("train", "test"):
        folder(tmp_path / "dataset" / part)
    picture(tmp_path / "__MACOSX" / "dataset" / "._a.png")
    assert f"Did you mean task.data: {{folder: {tmp_path / 'dataset'}}}?" in _reported(tmp_path)


def test_images_and_masks_are_no_classes(tmp_path):
    folder(tmp_path, ("images", "masks"))
    assert "look like images and their annotations" in _reported(tmp_path)


# --- folders within classes ------------------------------------------------------------------


def _animals(root: Path) -> Path:
    folder(root / "animals", ("cat", "dog"), 2)
    return folder(root / "vehicles", ("car", "bus"), 2).parent


def test_several_folders_within_a_class_are_asked_about(tmp_path):
    reported = _reported(_animals(tmp_path))
    assert reported.startswith(
        f'class folder {tmp_path / "animals"} holds 2 folders of pictures: "cat", "dog"; write'
    )
    assert "nested: merge" in reported
    assert 'nested: classes if each is a class ("animals/cat")' in reported


def test_folders_within_classes_may_be_merged_or_classes(tmp_path):
    root = _animals(tmp_path)
    merged = image_folder(root, nested="merge")
    assert merged.classes == ("animals", "vehicles")
    assert merged.labels.tolist() == [0] * 4 + [1] * 4
    each = image_folder(root, nested="classes")
    assert each.classes == ("animals/cat", "animals/dog", "vehicles/bus", "vehicles/car")
    assert [path.parent.name for path in each.sources[::2]] == ["cat", "dog", "bus", "car"]


def test_one_folder_within_a_class_is_noted(tmp_path):
    folder(tmp_path, each=1)
    picture(tmp_path / "dog" / "more" / "z.png")
    (note,) = image_folder(tmp_path).notes
    assert note == f'pictures in {tmp_path / "dog" / "more"} are taken for pictures of "dog"'


def test_parts_below_the_classes_are_refused(tmp_path):
    for name in ("cat", "dog"):
        folder(tmp_path / name, ("train", "test"), 2)
    reported = _reported(tmp_path)
    assert f"parts must be above the classes: {tmp_path}/test/cat" in reported


# --- names -----------------------------------------------------------------------------------

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_a_class_of_two_spellings_is_one_class(tmp_path):
    folder(tmp_path / "train", (DECOMPOSED, "dog"), 2)
    folder(tmp_path / "test", (COMPOSED, "dog"), 1)
    pictures = image_folder(tmp_path)
    assert pictures.classes == (COMPOSED, "dog")
    assert pictures.labels.tolist() == [0, 0, 1, 1, 0, 1]
    assert all(path.is_file() for path in pictures.sources)


def test_two_folders_of_one_look_are_refused(tmp_path):
    folder(tmp_path, (DECOMPOSED, COMPOSED, "dog"), 2)
    assert "one name in two forms (blanks around it, or Unicode); merge" in _reported(tmp_path)


def test_blanks_around_a_folders_name_are_seen(tmp_path):
    folder(tmp_path, ("daisy", "daisy ", "dog"), 2)
    assert 'holds "daisy" and "daisy ", one name in two forms' in _reported(tmp_path)


@pytest.mark.parametrize("part", ["", "train"])
def test_a_class_that_is_a_link_to_nowhere_is_refused_and_a_picture_is_not(tmp_path, part):
    folder(tmp_path / part, ("cat", "dog"), 2)
    (tmp_path / part / "cat" / "lost.png").symlink_to("nowhere.png")
    image_folder(tmp_path)
    (tmp_path / part / "rose").symlink_to("gone")
    reported = _reported(tmp_path)
    assert reported.startswith(f"{tmp_path / part / 'rose'} cannot be read: it is a link to gone,")


@pytest.mark.parametrize(
    ("one", "other"),
    [("cat ", "cat"), ("hot  dog", "hot dog"), ("cat\u200b", "cat"), ("ﬁsh", "fish")],
)
def test_names_that_look_the_same_are_refused(tmp_path, one, other):
    folder(tmp_path, (one, other, "dog"), 2)
    assert (
        "merge them" in (reported := _reported(tmp_path))
        or "differ in blanks or hidden" in reported
    )


# --- what lies there -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("a.mp4", 'holds no picture but 1 file ".mp4" (videos: save frames of them as pictures)'),
        ("a.zip", 'holds no picture but 1 file ".zip" (archives: unpack them)'),
        (
            "a.parquet",
            'but 1 file ".parquet" (Parquet or Arrow files: save their pictures as files',
        ),
        ("a.dcm", 'but 1 file ".dcm" (medical images: save them as PNG of 16 bits)'),
        ("a.xyz", 'holds no picture but 1 file ".xyz"'),
        ("README", "holds no picture but 1 file of no ending"),
        (".hidden.png", "but 1 file hidden (the name begins with a dot), .hidden.png"),
    ],
)
def test_a_class_without_a_picture_says_what_lies_there(tmp_path, name, reported):
    folder(tmp_path)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / name).write_bytes(b"x")
    assert reported in _reported(tmp_path)


def test_heic_without_the_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr("raysel.tasks.image_files.image_endings", lambda: frozenset({".png"}))
    folder(tmp_path, each=1)
    (tmp_path / "dog" / "a.HEIC").write_bytes(b"x")
    (left_out,) = image_folder(tmp_path).left_out
    assert left_out.reason == (
        'no image by the ending (.heic); HEIC pictures: pip install "raysel[heic]" reads them'
    )
    (tmp_path / "dog" / "00.png").unlink()
    assert 'pip install "raysel[heic]"' in _reported(tmp_path)


def test_a_root_of_archives_or_parquet_says_so(tmp_path):
    (tmp_path / "train-00000-of-00002.parquet").write_bytes(b"PAR1")
    assert 'It contains 1 file ".parquet" (Parquet' in _reported(tmp_path)


def test_only_regular_files_are_taken(tmp_path):
    folder(tmp_path, each=1)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "cat" / "folder.png").mkdir()
    pictures = image_folder(tmp_path)
    assert [path.name for path in pictures.sources] == ["00.png", "gone.png", "00.png"]
    (left_out,) = pictures.left_out
    assert (left_out.count, left_out.examples) == (2, ("cat/pipe.png", "cat/zero.png"))
    assert left_out.reason.startswith("no regular file")


def test_links_that_lead_nowhere_are_reported_before_any_picture_is_opened(tmp_path):
    root = folder(tmp_path / "pets", each=2)
    assert image_folder(root).notes == ()
    (root / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    pictures = image_folder(root)
    assert len(pictures) == 5
    gone = f"1 link leads nowhere, such as {root / 'cat' / 'gone.png'}"
    assert pictures.notes == (f"{gone}: pictures that cannot be read",)
