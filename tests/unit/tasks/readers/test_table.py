import json
import os
from pathlib import Path

import pandas as pd
import pytest
from pictures_kit import picture
from table_kit import problem as _problem
from table_kit import reported as _reported
from table_kit import table as _table

from raysel.common.errors import UserError
from raysel.spec.task import TaskSpec
from raysel.tasks.image_dataset import LeftOut
from raysel.tasks.opened_task import open_task
from raysel.tasks.readers.table import picture_table


def test_names_are_numbered_in_their_order(tmp_path):
    pictures = _table(tmp_path, "file,label\nb.jpg,dog\nx/a.jpg,cat\nc.jpg,dog\n")
    assert pictures.classes == ("cat", "dog")
    assert pictures.labels.tolist() == [1, 0, 1]
    assert list(pictures.sources) == [tmp_path / "b.jpg", tmp_path / "x/a.jpg", tmp_path / "c.jpg"]
    assert pictures.official_splits is None
    assert pictures.notes == ()


def test_numbers_are_taken_as_they_are(tmp_path):
    pictures = _table(
        tmp_path, "file,label\na,2\nb,0\nc,1\nd,10\n" + "".join(f"e{n},{n}\n" for n in range(3, 10))
    )
    assert pictures.labels[:4].tolist() == [2, 0, 1, 10]
    assert pictures.classes[10] == "10"


def test_numbers_may_begin_at_one(tmp_path):
    pictures = _table(tmp_path, "file,label\na,2\nb,1\nc,3\n")
    assert pictures.classes == ("1", "2", "3")
    assert pictures.labels.tolist() == [1, 0, 2]


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


@pytest.mark.parametrize("column", ["split", "Split", "subset", "data set"])
def test_a_split_column_gives_the_parts(tmp_path, column):
    text = f"filename,class,{column}\na,x,train\nb,y,train\nc,x,val\nd,y,TEST\n"
    pictures = _table(tmp_path, text)
    assert pictures.official_splits is not None
    assert pictures.official_splits.tolist() == ["train", "train", "validation", "test"]


def test_words_of_the_split_column_that_are_one_part_are_noted(tmp_path):
    text = "filename,class,split\na,x,train\nb,y,train\nc,x,dev\nd,y,eval\n"
    pictures = _table(tmp_path, text)
    assert pictures.official_splits is not None
    assert pictures.official_splits.tolist() == ["train", "train", "validation", "validation"]
    (note,) = pictures.notes
    assert '"dev"' in note and '"eval"' in note and "are one part, validation" in note


def test_a_column_that_names_no_part_is_none(tmp_path):
    pictures = _table(tmp_path, "file,label,set\na,x,winter\nb,y,summer\n")
    assert pictures.official_splits is None


@pytest.mark.parametrize(
    ("text", "classes", "reported"),
    [
        ("file,label\na,0\nb,7\n", ("x", "y"), "FILE line 3: label 7 is outside 0 .. 1"),
        (
            "file,label\na,1\nb,2\n",
            ("x", "y"),
            "FILE line 3: label 2 is outside 0 .. 1 (the first class has the number 0)",
        ),
        ("file,label\na,0\nb,-1\n", None, "FILE line 3: label -1 is outside 0 .. 0"),
        (
            "file,label\na,0\nb,2\nc,0\n",
            None,
            "FILE line 3: label 2 makes 3 classes of 3 rows, and none has 1; list the labels that"
            ' are classes in task.data.classes: ["0", "2", …]',
        ),
        (
            "file,label\na,20230101\nb,0\n",
            None,
            "FILE line 2: label 20230101 makes 20230102 classes of 2 rows, and none has 1; list the"
            ' labels that are classes in task.data.classes: ["0", "20230101", …]',
        ),
        (
            "file,label\na,cat\nb,dgo\n",
            ("cat", "dog"),
            'FILE line 3: label "dgo" is none of the classes; did you mean "dog"?',
        ),
        ("file,label\na,cat\nb,dog\n", ("cat", "dog", "eel"), 'labels.csv: no picture of "eel"'),
        (
            "file,label\na,cat\nb,cat\n",
            None,
            'labels.csv has one class alone, "cat"; a classification needs two or more',
        ),
        (
            "file,label\na,x\na,y\n",
            None,
            'FILE line 3: "a" is in line 2 too, as "x"; raysel does single-label classification',
        ),
        ("file,label\na,x\na,x\n", None, 'FILE line 3: "a" is in line 2 too'),
        ("file,label\na,\n", None, "FILE line 2: the file or the label is empty"),
        ("file,label\n", None, "FILE has no row below its head"),
        (
            "a.jpg,cat\n",
            None,
            "FILE has no head; its first line is a.jpg, cat: write the head file,label above it",
        ),
        (
            "a.jpg,cat\nb.jpg,dog\n",
            None,
            "FILE has no column of labels; its first line is a.jpg, cat: write the head file,label"
            " above it",
        ),
        (
            "file,kind\na,b\nc,d\n",
            None,
            "FILE has no column of labels; its head is file, kind; name it:"
            " task.data.label_column: kind",
        ),
        ("", None, "FILE is empty"),
        (
            "file,label,split\na,x,train\nb,y,extra\n",
            None,
            'FILE line 3: split "extra" is unknown; there is train, val, test, source',
        ),
        (
            "file,label\na,tench, Tinca tinca\n",
            None,
            'FILE line 2: 3 cells in a table of 2 columns, "Tinca tinca" too many; a cell'
            " that holds the delimiter must be in quotes",
        ),
        (
            'file,label\na,x\nb,"y\nc,z\n',
            None,
            "FILE line 3: a quote is not closed; a quote within quotes is written twice",
        ),
        (
            "file,label\nhttps://x.org/a.jpg,x\n",
            None,
            'FILE line 2: "https://x.org/a.jpg" is a URL; only local files are read',
        ),
        (
            "file,label\nfile:///p/a%20b.jpg,x\n",
            None,
            'FILE line 2: "file:///p/a%20b.jpg" is a URL; give the path alone (/p/a b.jpg)',
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line(tmp_path, text, classes, reported):
    assert _reported(tmp_path, text, classes) == reported


# --- how tables are written ------------------------------------------------------------------

ROWS = (("b.jpg", "dog"), ("x/a.jpg", "cat"), ("c.jpg", "dog"))


def _is_the_table(pictures) -> bool:
    found = [pictures.classes[label] for label in pictures.labels]
    return found == ["dog", "cat", "dog"] and all(path.is_file() for path in pictures.sources)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_pandas_writes_is_read(tmp_path, delimiter):
    rows = {"file": ["a.png", "b, c.png", "d;e.png"], "label": ["x", 'the "y"', "x"]}
    text = pd.DataFrame(rows).to_csv(sep=delimiter, index=False)
    data = _table(tmp_path, text, files=rows["file"])
    assert [path.name for path in data.sources] == rows["file"]
    assert [data.classes[label] for label in data.labels] == rows["label"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_delimiters_line_ends_and_encodings(tmp_path, delimiter, end, encoding):
    lines = [delimiter.join(row) for row in (("file", "label"), *ROWS)]
    content = (end.join(lines) + end).encode(encoding)
    assert _is_the_table(_table(tmp_path, content, files=[file for file, _ in ROWS]))


@pytest.mark.parametrize(
    "head",
    [
        *("filename,class", "file_name,label", "File Name,Category", "FILE,LABEL", "path,target"),
        *("image,labels", "Image_Path,class_name", "id,breed", "image_id,species", "Id,label"),
        *("filepaths,labels", "image-id,y", "img,CATEGORY", "id_code,diagnosis"),
    ],
)
def test_usual_names_of_columns(tmp_path, head):
    text = head + "\n" + "".join(f"{file},{label}\n" for file, label in ROWS)
    assert _is_the_table(_table(tmp_path, text))


def test_blank_lines_quotes_and_spaces_do_no_harm(tmp_path):
    text = '\n"file", "label"\n"b.jpg", "dog"\n\n x/a.jpg ,cat\n,,\nc.jpg,"dog",\n'
    assert _is_the_table(_table(tmp_path, text, files=[file for file, _ in ROWS]))


def test_a_quoted_cell_may_hold_delimiters_and_line_breaks(tmp_path):
    text = 'file,label\n"a,1.jpg","cat, or ""feline"""\nb.jpg,"dog\nor wolf"\n'
    pictures = _table(tmp_path, text, files=["a,1.jpg", "b.jpg"])
    assert pictures.classes == ('cat, or "feline"', "dog\nor wolf")


def test_excels_line_of_the_delimiter_is_no_head(tmp_path):
    text = "sep=;\r\nfile;label\r\n" + "".join(f"{file};{label}\r\n" for file, label in ROWS)
    assert _is_the_table(_table(tmp_path, text, files=[file for file, _ in ROWS]))


@pytest.mark.parametrize("name", ["metadata.jsonl", "x.ndjson"])
def test_json_lines(tmp_path, name):
    lines = [json.dumps({"file_name": file, "label": label, "n": 1}) for file, label in ROWS]
    text = "\n".join(lines) + "\n\n"
    assert _is_the_table(_table(tmp_path, text, name=name, files=[file for file, _ in ROWS]))


def test_json_lines_may_have_numbers(tmp_path):
    text = '{"file_name": "a", "label": 1}\n{"label": 0, "file_name": "b"}\n'
    pictures = _table(tmp_path, text, name="m.jsonl", files=["a", "b"])
    assert pictures.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ('{"file_name": "a", "label": 1}\n{"file_name"', "FILE line 2: is no JSON"),
        ("[1]\n", "FILE line 1: is no JSON object"),
        ('{"file_name": "a", "label": ["x", "y"]}\n', "is a list; raysel does single-label"),
        ('{"file_name": "a", "label": null}\n', "FILE line 1: the file or the label is empty"),
        ("[" * 100_000, "FILE line 1: is no JSON: it is nested too deeply"),
    ],
)
def test_json_lines_that_are_wrong(tmp_path, text, reported):
    assert reported in _reported(tmp_path, text, name="m.jsonl", files=["a"])


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (
            "file,label\na,x\nb,caf\u00e9\n".encode("latin-1"),
            "FILE line 3: byte 0xe9 is not text in UTF-8; save it as UTF-8, or: iconv -f"
            " WINDOWS-1252 -t UTF-8 labels.csv",
        ),
        ("file,label\na,x\n".encode("utf-16-le"), "holds NUL bytes: it is not text, or UTF-16"),
        (b"PK\x03\x04xxxx", "FILE is a ZIP archive (or a spreadsheet .xlsx), and no table"),
        (b"PAR1xxxx", "FILE is a Parquet file, and no table; save it as CSV"),
        (b'{"images": [], "annotations": []}', "FILE is JSON, and no table; write one"),
        (b"\xff\xfefi\xd8", "begins as UTF-16 and is damaged"),
        (b"file,label\na," + b"x" * 200_000 + b"\n", "field larger than field limit"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, reported):
    assert reported in _reported(tmp_path, content, files=["a"])


def test_a_table_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert _reported(tmp_path, "file,label\n") == "FILE cannot be read: Permission denied"


def test_a_table_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(UserError, match=r"is a named pipe \(FIFO\), no table"):
        picture_table(tmp_path / "labels.csv", tmp_path)


# --- which column ----------------------------------------------------------------------------


def test_columns_may_be_named(tmp_path):
    text = "photo,what,label\na,cat,0.5\nb,dog,0.7\n"
    pictures = _table(tmp_path, text, file_column="PHOTO", label_column="what")
    assert pictures.classes == ("cat", "dog")


@pytest.mark.parametrize(("key", "other"), [("file_column", "label"), ("label_column", "label")])
def test_a_named_column_that_is_not_there_is_reported_with_the_nearest(tmp_path, key, other):
    problem = _problem(tmp_path, "file,label\na,x\nb,y\n", **{key: "labl"})
    assert problem.path == f"task.data.{key}"
    assert problem.message.endswith(f'has no column "labl"; did you mean "{other}"?')


def test_several_columns_of_labels_are_asked_about(tmp_path):
    reported = _reported(tmp_path, "file,label,category\na,x,p\nb,y,p\n")
    assert reported == (
        'FILE has several columns that may hold the labels: "label", "category"; write'
        " task.data.label_column: label"
    )


def test_columns_that_tell_the_same_classes_apart_are_one(tmp_path):
    pictures = _table(tmp_path, "file,class,target\na,cat,0\nb,dog,1\nc,cat,0\n")
    assert pictures.classes == ("cat", "dog")


def test_of_several_columns_of_files_that_with_endings_is_taken(tmp_path):
    text = "path,filename,label\nphotos,a.jpg,x\nphotos,b.jpg,y\n"
    assert _table(tmp_path, text, files=["a.jpg", "b.jpg"]).sources[0].name == "a.jpg"
    reported = _reported(tmp_path, "path,filename,label\na,a,x\nb,b,y\n")
    assert "several columns that may hold the files" in reported


def test_a_column_of_files_of_any_name_is_known_by_endings(tmp_path):
    pictures = _table(tmp_path, "slide no.,label\na.jpg,x\nb.png,y\n")
    assert [path.name for path in pictures.sources] == ["a.jpg", "b.png"]


# --- one-hot ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ones", [("0", "1"), ("0.0", "1.0"), ("false", "True")])
def test_one_hot_columns_are_labels(tmp_path, ones):
    off, on = ones
    text = f"file,cat,dog,ship\na,{off},{off},{on}\nb,{on},{off},{off}\nc,{off},{on},{off}\n"
    pictures = _table(tmp_path, text)
    assert [pictures.classes[label] for label in pictures.labels] == ["ship", "cat", "dog"]
    assert "one-hot" in pictures.notes[0]


@pytest.mark.parametrize(
    ("row", "reported"),
    [
        ("1,1,0", 'FILE line 3: has a 1 in "cat", "dog" of the 3'),
        ("0,0,0", "FILE line 3: has no 1"),
    ],
)
def test_rows_of_several_ones_or_none_are_refused(tmp_path, row, reported):
    text = f"file,cat,dog,ship\na,0,0,1\nb,{row}\n"
    assert reported in (message := _reported(tmp_path, text))
    assert "raysel does single-label classification" in message
    assert "task.data.classes: [cat, dog, …]" in message


def test_the_one_hot_columns_may_be_named(tmp_path):
    text = "file,cat,blurred,dog\na,1,1,0\nb,0,0,1\n"
    pictures = _table(tmp_path, text, ("dog", "cat"))
    assert pictures.labels.tolist() == [1, 0]


# --- which file ------------------------------------------------------------------------------


def test_an_id_finds_its_file(tmp_path):
    text = "id,label\nb,dog\nx/a,cat\nc.1,dog\n"
    pictures = _table(tmp_path, text, files=["b.jpg", "x/a.png", "c.1.jpg", "c.1.txt"])
    names = [str(path.relative_to(tmp_path)) for path in pictures.sources]
    assert names == ["b.jpg", "x/a.png", "c.1.jpg"]


def test_an_id_with_two_files_is_asked_about(tmp_path):
    files = ["a.jpg", "a.png", "b.png"]
    reported = _reported(tmp_path, "id,label\na,x\nb,y\n", files=files)
    assert reported == (
        'FILE line 2: "a" has files with the endings ".jpg", ".png"; write task.data.ending: .jpg'
    )
    pictures = _table(tmp_path, "id,label\na,x\nb,y\n", files=files, ending="png")
    assert [path.name for path in pictures.sources] == ["a.png", "b.png"]


def test_backslashes_part_folders_too(tmp_path):
    pictures = _table(tmp_path, "file,label\nx\\a.jpg,x\nb.jpg,y\n", files=["x/a.jpg", "b.jpg"])
    assert pictures.sources[0] == tmp_path / "x" / "a.jpg"


def test_the_one_folder_that_holds_all_files_is_the_root(tmp_path):
    files = ["train/a.jpg", "train/b.jpg", "other/a.jpg"]
    pictures = _table(tmp_path, "id,label\na,x\nb,y\n", files=files)
    assert pictures.sources[0] == tmp_path / "train" / "a.jpg"
    assert pictures.notes == (f"the files of labels.csv are in {tmp_path / 'train'}",)


def test_files_that_are_in_two_folders_are_asked_about(tmp_path):
    reported = _reported(
        tmp_path, "id,label\na,x\nb,y\n", files=["p/a.jpg", "p/b.jpg", "q/a.jpg", "q/b.jpg"]
    )
    assert f"write task.data.root: {tmp_path / 'p'}" in reported


def test_a_table_whose_files_are_nowhere_is_refused(tmp_path):
    reported = _reported(tmp_path, "file,label\na.jpg,x\nb.jpg,y\n", files=[])
    assert reported.startswith(
        f"FILE: none of its 2 files is there, such as {tmp_path / 'a.jpg'}; give their folder"
    )


def test_a_file_that_is_missing_among_others_is_kept_for_the_decoder(tmp_path):
    pictures = _table(tmp_path, "file,label\na.jpg,x\nb.jpg,y\n", files=["b.jpg"])
    assert pictures.sources[0] == tmp_path / "a.jpg"
    absent = tmp_path / "a.jpg"
    assert pictures.notes == (f"1 of the table's 2 files is not there: {absent}",)


def test_what_a_table_lacks_is_reported_before_a_picture_is_decoded(tmp_path):
    """Names of percent signs, as annotation tools write them, beside files of plain names."""
    picture(tmp_path / "a b.png")
    picture(tmp_path / "c.png")
    (tmp_path / "t.csv").write_text("file,label\na%20b.png,x\nc.png,y\n")
    split = {"train": 1, "validation": 1, "test": 1}
    spec = TaskSpec.model_validate({"data": {"csv": str(tmp_path / "t.csv")}, "split": split})
    (note,) = (note for note in open_task(spec).notes() if "not there" in note)
    assert note.endswith("a%20b.png")


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
