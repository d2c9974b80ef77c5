"""What stands in a table's label column is one class of a picture, or refused."""

from pathlib import Path

import pytest
from table_kit import reported as _reported
from table_kit import table as _table

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_two_names_of_one_look_are_refused(tmp_path):
    reported = 'classes "Cat" and "cat" differ in upper and lower case alone; rename one of them'
    assert _reported(tmp_path, "file,label\na,Cat\nb,cat\n").startswith(reported)
    reported = 'classes "True" and "true" differ in upper and lower case alone'
    assert _reported(tmp_path, "file,label\na,true\nb,True\n").startswith(reported)


# --- labels that are not one class -----------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        ("ship", "ship|outdoor", "cat", "cat|outdoor"),
        ("ship;outdoor", "cat"),
        ('"ship, outdoor"', "ship", '"cat, outdoor"'),
        ("ship+outdoor", "ship", "outdoor"),
        ("ship outdoor", "ship", "outdoor"),
        ("clear primary", "haze primary", "clear primary water", "haze primary water", "haze"),
        ('"[""ship"", ""outdoor""]"', "cat"),
        ("\"['ship']\"", "cat"),
        ('"{ship,cat}"', "cat"),
        ('"1,2"', "1"),
    ],
)
def test_several_labels_of_a_picture_are_refused(tmp_path, labels):
    text = "file,label\n" + "".join(f"f{n},{label}\n" for n, label in enumerate(labels))
    reported = _reported(tmp_path, text)
    assert "if that is one class's name, list all names in task.data.classes" in reported
    assert "single-label classification" in reported or 'write "ship"' in reported


@pytest.mark.parametrize(
    "labels",
    [
        ('"tench, Tinca tinca"', '"goldfish, Carassius auratus"'),
        ("maillot", '"maillot, tank suit"'),
        ("hot dog", "dog"),
        ("red apple", "green apple", "red pear", "green pear", "red plum"),
        ("animals/cat", "animals/dog"),
        ("salt & pepper", "sugar"),
        ("C++", "C"),
        ("1st class", "2nd class"),
    ],
)
def test_names_of_several_words_are_classes(tmp_path, labels):
    text = "file,label\n" + "".join(f"f{n},{label}\n" for n, label in enumerate(labels))
    assert len(_table(tmp_path, text).classes) == len(labels)


def test_a_joint_name_that_is_listed_is_a_class(tmp_path):
    text = "file,label\na,ship|outdoor\nb,cat\n"
    assert _table(tmp_path, text, ("ship|outdoor", "cat")).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "reported"),
    [
        (("0.5", "1.25"), "label 0.5 is a real number, which is a regression task"),
        (("-0.2", "3"), "label -0.2 is a real number"),
        (("nan", "0"), 'label "nan" stands for no value; remove the row'),
        (("NULL", "cat"), 'label "NULL" stands for no value'),
        (('"1,000"', "2"), 'label "1,000" is formatted for reading; write 1000'),
        (("1e3", "0"), "label 1e3 makes 1001 classes of 2 rows"),
        (("01", "02", "10"), 'task.data.classes: ["01", "02", "10", …]'),
        (("2", "2.0", "cat"), 'labels "2" and "2.0" are one number; write one of them'),
    ],
)
def test_numbers_that_are_no_classes_are_refused(tmp_path, labels, reported):
    text = "file,label\n" + "".join(f"f{n},{label}\n" for n, label in enumerate(labels))
    assert reported in _reported(tmp_path, text)


def test_one_number_in_two_spellings_is_one_class(tmp_path):
    pictures = _table(tmp_path, "file,label\na,2\nb,2.0\nc,0\nd,0.0\ne,01\n")
    assert pictures.classes == ("0", "1", "2")
    assert pictures.labels.tolist() == [2, 2, 0, 0, 1]
    (note,) = pictures.notes
    assert note.startswith('labels "2" and "2.0" are one number, and one class')


def test_numbers_with_a_point_are_whole_numbers(tmp_path):
    pictures = _table(tmp_path, "file,label\na,1.0\nb,0.0\n")
    assert pictures.classes == ("0", "1")
    assert pictures.notes == ('labels such as "1.0" are read as whole numbers: the class is 1',)


def test_zeros_in_front_of_a_number_are_not_in_the_class_and_a_note_says_so(tmp_path):
    pictures = _table(tmp_path, "file,label\na,000\nb,001\n")
    assert pictures.classes == ("0", "1")
    assert pictures.notes == ('labels such as "000" are read as whole numbers: the class is 0',)


# --- names in two forms ----------------------------------------------------------------------


def test_a_label_in_two_forms_is_one_class(tmp_path):
    text = f"file,label\na,{COMPOSED}\nb,{DECOMPOSED}\nc,tea\n"
    pictures = _table(tmp_path, text)
    assert pictures.classes == (COMPOSED, "tea")
    assert pictures.labels.tolist() == [0, 0, 1]
    assert _table(tmp_path, text, ("tea", DECOMPOSED)).labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize("inside", ["{}.png", "{}/a.png"])
@pytest.mark.parametrize("there,named", [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_file_is_found_in_either_form(tmp_path, inside, there, named):
    files = [inside.format(there), "b.png"]
    text = f"file,label\n{inside.format(named)},x\nb.png,y\n"
    pictures = _table(tmp_path, text, files=files)
    assert [path.relative_to(tmp_path) for path in pictures.sources] == list(map(Path, files))


def test_numbers_beside_names_are_noted(tmp_path):
    pictures = _table(tmp_path, "file,label\na,0\nb,tea\nc,1\nd,oak\n")
    assert pictures.classes == ("0", "1", "oak", "tea")
    (note,) = pictures.notes
    assert note.startswith("labels 0, 1 are numbers beside oak, tea: one class each;")
    assert _table(tmp_path, "file,label\na,oak\nb,tea\n").notes == ()


def test_a_key_that_an_object_has_twice_is_refused(tmp_path):
    text = '{"file": "a", "label": "x", "label": "y"}\n{"file": "b", "label": "y"}\n'
    found = _reported(tmp_path, text, name="labels.jsonl", files=["a", "b"])
    assert found == 'FILE line 1: is no JSON: the key "label" occurs twice'


def test_an_object_as_a_label_is_refused_as_one(tmp_path):
    text = '{"file": "a", "label": {"name": "x"}}\n{"file": "b", "label": {"name": "y"}}\n'
    assert "is an object; write one" in _reported(tmp_path, text, name="l.jsonl", files=["a", "b"])


def test_two_columns_of_one_name_must_agree(tmp_path):
    assert _table(tmp_path, "file,label,label\na,x,x\nb,y,y\n").classes == ("x", "y")
    found = _reported(tmp_path, "file,label,label\na,x,y\nb,y,x\n")
    assert found.endswith('rename one of those named "label"')
