"""A data set that a function of the user's own file gives."""

import pictures_kit as kit
import pytest

from raysel.common.errors import UserError
from raysel.spec import user_code
from raysel.spec.task import TaskSpec
from raysel.tasks.load_task import load_task
from raysel.tasks.opened_task import open_task

FILE = """\
from pathlib import Path

def photos():
    found = sorted(Path(__file__).parent.glob("pets/*/*.png"))
    return found, [path.parent.name for path in found]

def parts():
    paths, labels = photos()
    return paths, labels, ["test" if n % 5 == 0 else "train" for n in range(len(paths))]

def relative():
    return ["pets/cat/00.png", "pets/dog/00.png", "pets/dog/99.png"], [0, 1, 1]

def bare():
    return photos()[0]

def uneven():
    return ["a.png"], ["x", "y"]

def several():
    return ["pets/cat/00.png", "pets/dog/00.png"], [["a", "b"], "c"]

def text():
    return "a.png", "x"

def fails():
    raise KeyError("no table")

def nowhere():
    return ["a.png", "b.png"], ["x", "y"]

def odd_part():
    return ["pets/cat/00.png", "pets/dog/00.png"], [0, 1], ["train", "folds"]
"""


@pytest.fixture
def code(tmp_path):
    """The file, loaded, beside a folder of pictures."""
    kit.folder(tmp_path / "pets")
    (tmp_path / "my_data.py").write_text(f"{FILE}# {tmp_path}\n", encoding="utf-8")
    user_code.load_from([tmp_path / "my_data.py"])
    return tmp_path


def _opened(name):
    return open_task(
        TaskSpec(data={"function": name}, split={"train": 4, "test": 4, "validation": 4})
    )


def test_its_paths_and_labels_are_the_data_set(code):
    data = _opened("photos").data
    assert data.classes == ("cat", "dog") and len(data) == 20 and data.name == "photos"
    task = load_task(kit.task({"function": "parts"}, code))
    assert len(task.test) == 4
    assert _opened("parts").data.official_splits.tolist().count("test") == 4


def test_relative_paths_are_beside_the_file_and_absent_ones_are_said(code):
    data = _opened("relative").data
    assert data.sources[0] == code / "pets/cat/00.png"
    assert data.notes == (f"1 of 3 files are not there: {code / 'pets/dog/99.png'}",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fotos", 'no file of code_files has a function "fotos"; did you mean "photos"?'),
        ("bare", "bare() returns list; it must return paths and labels, and perhaps parts"),
        ("uneven", "uneven() returns lists of 1 and 2; it must return paths and labels"),
        ("text", 'text() returns "a.png" in the place of a list'),
        ("several", "several() picture 1: label"),
        ("nowhere", "nowhere() none of its 2 files is there, such as "),
        ("odd_part", "odd_part() part folds is unknown; there is train, val, test"),
        ("fails", "my_data.py"),
    ],
)
def test_what_is_no_data_set_is_one_line(code, name, said):
    task = _opened(name)
    (line,) = [*map(str, task.problems)] or [task.missing]
    assert said in line and "\n" not in line


def test_the_line_of_the_users_file_is_named_where_it_raises(code):
    (problem,) = _opened("fails").problems
    assert problem.line == 1 + FILE.splitlines().index('    raise KeyError("no table")')


def test_a_function_that_is_gone_is_refused(code):
    with pytest.raises(UserError, match="no file of code_files has a function"):
        load_task(kit.task({"function": "unheard_of"}, code))
