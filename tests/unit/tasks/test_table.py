from pathlib import Path

import pytest
from pictures_kit import picture

from raysel.errors import UserError
from raysel.tasks.pictures import LeftOut
from raysel.tasks.table import picture_table


def _table(tmp_path, text: str, classes=None):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return picture_table(path, tmp_path, classes)


def _told(tmp_path, text: str, classes=None) -> str:
    with pytest.raises(UserError) as caught:
        _table(tmp_path, text, classes)
    (problem,) = caught.value.problems
    assert problem.path == "task.data"
    return problem.message.replace(str(tmp_path / "labels.csv"), "FILE")


def test_names_are_numbered_in_their_order(tmp_path):
    pictures = _table(tmp_path, "file,label\nb.jpg,dog\nx/a.jpg,cat\nc.jpg,dog\n")
    assert pictures.classes == ("cat", "dog")
    assert pictures.labels.tolist() == [1, 0, 1]
    assert list(pictures.sources) == [tmp_path / "b.jpg", tmp_path / "x/a.jpg", tmp_path / "c.jpg"]
    assert pictures.pools is None


def test_numbers_are_taken_as_they_are(tmp_path):
    pictures = _table(
        tmp_path, "file,label\na,2\nb,0\nc,1\nd,10\n" + "".join(f"e{n},{n}\n" for n in range(3, 10))
    )
    assert pictures.labels[:4].tolist() == [2, 0, 1, 10]
    assert pictures.classes[10] == "10"


def test_what_is_no_whole_number_is_a_name(tmp_path):
    assert _table(tmp_path, "file,label\na,--5\nb,0\n").classes == ("--5", "0")
    assert _table(tmp_path, "file,label\na,20230101000\nb,0\n").classes == ("0", "20230101000")


def test_ids_may_be_classes(tmp_path):
    pictures = _table(tmp_path, "file,label\na,20230102\nb,7\n", classes=("7", "20230102"))
    assert pictures.labels.tolist() == [1, 0]


def test_numbers_may_have_names(tmp_path):
    pictures = _table(tmp_path, "file,label\na,1\nb,0\n", classes=("cat", "dog"))
    assert pictures.classes == ("cat", "dog")
    assert pictures.labels.tolist() == [1, 0]


def test_a_split_column_gives_the_parts(tmp_path):
    text = "filename,class,split\na,x,train\nb,y,train\nc,x,val\nd,y,TEST\n"
    pictures = _table(tmp_path, text)
    assert pictures.pools is not None
    assert pictures.pools.tolist() == ["train", "train", "validation", "test"]


def test_a_byte_order_mark_and_spaces_do_no_harm(tmp_path):
    assert _table(tmp_path, "\ufefffile, label\na , x\nb,y\n").classes == ("x", "y")


@pytest.mark.parametrize(
    ("text", "classes", "told"),
    [
        ("file,label\na,0\nb,7\n", ("x", "y"), "FILE line 3: label 7 is outside 0 .. 1"),
        ("file,label\na,0\nb,-1\n", None, "FILE line 3: label -1 is outside 0 .. 0"),
        ("file,label\na,0\nb,2\nc,0\n", None, 'labels.csv: no picture of "1"'),
        (
            "file,label\na,20230101\nb,0\n",
            None,
            "FILE line 2: label 20230101 makes 20230102 classes of 2 rows, some of them without a"
            " picture; give task.data.classes, the labels in the order of their numbers",
        ),
        (
            "file,label\na,cat\nb,dgo\n",
            ("cat", "dog"),
            'FILE line 3: label "dgo" is none of the classes; did you mean "dog"?',
        ),
        ("file,label\na,cat\nb,dog\n", ("cat", "dog", "eel"), 'labels.csv: no picture of "eel"'),
        (
            "file,label\na,Cat\nb,cat\n",
            None,
            'classes "Cat" and "cat" differ in upper and lower case alone',
        ),
        ("file,label\na,x\na,y\n", None, 'FILE line 3: "a" stands in line 2 too'),
        ("file,label\na,\n", None, "FILE line 2: the file or the label is empty"),
        ("file,label\n", None, "FILE has no row below its head"),
        ("a.jpg,cat\n", None, 'FILE has no column "file"; its head is a.jpg, cat'),
        ("file,kind\na,b\n", None, 'FILE has no column "label"; its head is file, kind'),
        ("", None, 'FILE has no column "file"; its head is empty'),
        (
            "file,label,split\na,x,train\nb,y,extra\n",
            None,
            'FILE line 3: split "extra" is unknown; there is train, val, test',
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, text, classes, told):
    assert _told(tmp_path, text, classes) == told


def test_a_table_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"file,label\n\xff\xfe,x\n")
    with pytest.raises(UserError, match="is not text in UTF-8"):
        picture_table(path, tmp_path)


def test_a_table_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"labels.csv cannot be read: Permission denied"):
        picture_table(tmp_path / "labels.csv", tmp_path)


def test_files_beside_the_pictures_that_no_row_names_are_counted(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "sub" / "b.png")
    picture(tmp_path / "sub" / "c.png")
    picture(tmp_path / "elsewhere" / "d.png")
    (tmp_path / "sub" / "notes.txt").write_text("x")
    path = tmp_path / "labels.csv"
    path.write_text("file,label\na.png,x\nsub/../sub/b.png,y\nabsent/z.png,y\n")
    assert picture_table(path, tmp_path).left_out == (
        LeftOut("in no row of the table", 1, ("sub/c.png",)),
        LeftOut("no image by the ending (.txt)", 1, ("sub/notes.txt",)),
    )
