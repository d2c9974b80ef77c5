"""What may stand above the head of a table."""

import pytest
from table_kit import reported, table

ROWS = "a,x\nb,y\n"


@pytest.mark.parametrize(
    "above", ["# made by hand\n", "# one\n# two, and a comma\n", "\n# one\n\n", "#\n"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_comment_above_the_head_are_left_out(tmp_path, above, end):
    text = f"{above}file,label\n{ROWS}".replace("\n", end)
    pictures = table(tmp_path, text, files=["a", "b"])
    assert [path.name for path in pictures.sources] == ["a", "b"]
    assert pictures.classes == ("x", "y")


def test_a_mistake_below_them_is_reported_with_its_line_in_the_file(tmp_path):
    found = reported(tmp_path, "# one\n\n# two\nfile,label\na,x\nb,\n", files=["a", "b"])
    assert found == "FILE line 6: the file or the label is empty"


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_title_above_the_head_is_to_be_deleted(tmp_path, sign):
    rows = ROWS.replace(",", sign)
    found = reported(tmp_path, f"Flowers, 2024\nfile{sign}label\n{rows}", files=["a", "b"])
    head = f"file{sign}label".replace("\t", "\\t")  # as a message shows it
    assert found == f'FILE line 2: reads as the head, "{head}": delete what stands above it'


def test_a_row_that_has_words_of_a_head_is_none(tmp_path):
    pictures = table(tmp_path, "file,label\nfile,label\nb,y\n", files=["file", "b"])
    assert pictures.classes == ("label", "y")
