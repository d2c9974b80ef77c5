"""Files, folders, patterns and tables as `raysel predict` takes them."""

from pathlib import Path

import pytest
from files_kit import write_scenes

from raysel.common.errors import UserError
from raysel.export.given_pictures import given_pictures


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """b.jpg, a.png and sub/c.jpg, beside a text, a hidden file and a list."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    write_scenes(folder, ("b.jpg", "a.png", "sub/c.jpg"), 8, 8)
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.jpg").write_bytes(b"")
    (folder / "list.csv").write_text("image;who\nb.jpg;me\nsub/c.jpg;you\nlost.jpg;nobody\n")
    return folder


def names(*given: str) -> list[str]:
    return [str(path) for path in given_pictures(given).files]


def refusal(*given: str) -> str:
    with pytest.raises(UserError) as raised:
        given_pictures(given)
    (problem,) = raised.value.problems
    assert problem.path == "PICTURES"
    return problem.message


def test_a_folder_gives_its_pictures_and_says_what_is_left_out(photos):
    found = given_pictures(["photos"])
    assert [str(p) for p in found.files] == ["photos/a.png", "photos/b.jpg", "photos/sub/c.jpg"]
    assert {one.reason: one.count for one in found.left_out} == {
        "hidden (the name begins with a dot)": 1,
        "no image by the ending (.csv)": 1,
        "no image by the ending (.txt)": 1,
    }


def test_patterns_reach_one_level_or_all(photos):
    assert names("photos/*.jpg") == ["photos/b.jpg"]
    assert names("photos/**/*.jpg") == ["photos/b.jpg", "photos/sub/c.jpg"]
    assert names(f"{photos}/s*") == [f"{photos}/sub/c.jpg"]


def test_a_table_gives_its_files_those_that_are_lost_too(photos):
    found = names("photos/list.csv")
    assert found == ["photos/b.jpg", "photos/sub/c.jpg", "photos/lost.jpg"]


def test_a_file_is_taken_as_it_is_and_once(photos):
    assert names("photos/notes.txt", "photos/b.jpg", "photos/*.jpg") == [
        "photos/notes.txt",
        "photos/b.jpg",
    ]


def test_what_leads_to_no_picture_is_refused(photos):
    (photos / "empty").mkdir()
    (photos / "odd.csv").write_text("a,b\n1,2\n")
    assert refusal("photos/empty") == '"photos/empty" holds no picture'
    assert refusal("") == '"" is empty; give files, folders, patterns or tables of files'
    assert refusal("nowhere.jpg") == '"nowhere.jpg": there is no such file or folder'
    assert refusal("photos/*.tif") == 'no file fits the pattern "photos/*.tif"'
    assert refusal("photos/odd.csv").endswith("its head is a, b: call one of them file")
