"""Columns of true and false that name a part, those that are not read, those of one name."""

import pytest
from table_kit import reported, table


@pytest.mark.parametrize("column", ["is_valid", "is_val", "IsValidation"])
@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("1", "0")])
def test_a_column_of_true_and_false_gives_the_validation_part(tmp_path, column, yes, no):
    text = f"fname,label,{column}\na,x,{no}\nb,y,{no}\nc,x,{yes}\nd,y,{yes}\n"
    pictures = table(tmp_path, text)
    assert pictures.official_splits is not None
    assert pictures.official_splits.tolist() == ["train", "train", "validation", "validation"]


def test_two_such_columns_give_both_parts(tmp_path):
    text = "file,label,is_valid,is_test\na,x,0,0\nb,y,1,0\nc,x,0,1\n"
    pictures = table(tmp_path, text)
    assert pictures.official_splits.tolist() == ["train", "validation", "test"]


@pytest.mark.parametrize("column", ["is_train", "isTraining", "is_training_image"])
def test_a_column_of_training_rows_leaves_the_test_part(tmp_path, column):
    pictures = table(tmp_path, f"file,label,{column}\na,x,1\nb,y,0\nc,x,1\n")
    assert pictures.official_splits.tolist() == ["train", "test", "train"]
    text = f"file,label,{column},is_valid\na,x,1,0\nb,y,0,1\nc,x,0,0\n"
    assert table(tmp_path, text).official_splits.tolist() == ["train", "validation", "test"]


def test_a_row_of_two_parts_is_refused(tmp_path):
    found = reported(tmp_path, "file,label,is_valid,is_test\na,x,0,0\nb,y,1,1\n")
    assert found == 'FILE line 3: "is_valid", "is_test" are both true: one part a row'


def test_a_split_column_is_the_part_where_both_are_there(tmp_path):
    pictures = table(tmp_path, "file,label,split,is_valid\na,x,train,1\nb,y,test,0\n")
    assert pictures.official_splits.tolist() == ["train", "test"]
    assert "column of labels.csv not read: is_valid" in pictures.notes


def test_it_is_no_class_of_a_one_hot_table(tmp_path):
    pictures = table(tmp_path, "file,a,b,is_valid\np,1,0,0\nq,0,1,1\n")
    assert pictures.classes == ("a", "b")
    assert pictures.official_splits.tolist() == ["train", "validation"]


def test_a_column_of_other_values_is_no_part_and_is_named(tmp_path):
    pictures = table(tmp_path, "file,label,is_valid\na,x,maybe\nb,y,1\n")
    assert pictures.official_splits is None
    assert pictures.notes == ("column of labels.csv not read: is_valid",)


def test_columns_that_are_not_read_are_named(tmp_path):
    head = "file,label,width,height,owner,date,camera"
    pictures = table(tmp_path, f"{head}\na,x,1,2,m,n,o\nb,y,1,2,m,n,o\n")
    names = "width, height, owner, date and 1 more"
    assert pictures.notes == (f"columns of labels.csv not read: {names}",)
    assert table(tmp_path, "file,label\na,x\nb,y\n").notes == ()


@pytest.mark.parametrize("head", ["file,label,label", "file,Label,label"])
def test_of_two_columns_of_one_name_no_name_is_advised(tmp_path, head):
    found = reported(tmp_path, f"{head}\na,x,p\nb,y,p\n")
    if len(set(head.split(","))) < 3:
        assert found.endswith('rename one of those named "label"')
    else:  # these differ
        assert found.endswith("write task.data.label_column: Label")


def test_of_several_columns_that_may_be_the_label_none_is_advised(
    tmp_path,
):
    found = reported(tmp_path, "datei,klasse,gewicht\na.png,x,3\nb.png,y,4\n")
    assert found.endswith("task.data.label_column: NAME, one of klasse, gewicht")
    found = reported(tmp_path, "file,sort\na,x\nb,y\n")
    assert found.endswith("task.data.label_column: sort")


def test_a_head_that_is_missing_has_a_name_for_each_column(tmp_path):
    found = reported(tmp_path, "TRAIN,a.png,cat\nTEST,b.png,dog\n")
    assert found.endswith("write a head of 3 names, file and label among them, above it")


@pytest.mark.parametrize(
    ("head", "hint"),
    [
        ("'file','label'", ": single quotes are no quotes of CSV"),
        ("file label", ", one column: separate cells by comma"),
        ("file  label  split", ", one column: separate cells by comma"),
    ],
)
def test_the_refusal_of_another_form_than_csv_names_what_to_change(tmp_path, head, hint):
    assert hint in reported(tmp_path, f"{head}\na x\nb y\n")
