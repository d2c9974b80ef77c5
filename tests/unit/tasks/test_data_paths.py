"""What is said where a folder or a table is not there."""

import os
import zipfile

import pytest
from pictures_kit import folder, task

from raysel.tasks.data_paths import missing_path
from raysel.tasks.opened_task import open_task


@pytest.mark.parametrize("there", ["photos.rar", "photos.tar.gz"])
def test_an_archive_that_is_given_as_a_folder_is_named_as_one(tmp_path, there):
    path = tmp_path / there
    path.write_bytes(b"x")
    assert missing_path(path, "folder") == f"{path} is a file, no folder (archives: unpack them)"


@pytest.mark.parametrize("there", ["photos.zip", "photos.tar", "photos.parquet", "photos.npz"])
def test_a_file_of_pictures_that_is_given_as_a_folder_is_answered_with_the_right_key(
    tmp_path, there
):
    path = tmp_path / there
    path.write_bytes(b"x")
    expected = f"{path} is a file, no folder; it is read as task.data: {{file: {path}}}"
    assert missing_path(path, "folder") == expected


def test_a_folder_that_is_still_packed_is_reported(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w"):
        pass
    wanted = tmp_path / "photos"
    assert missing_path(wanted, "folder") == (
        f'there is no folder {wanted}; there is a file "{wanted}.zip" (archives: unpack them)'
    )


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_is_meant_is_of_the_right_kind_and_never_what_was_given(tmp_path, what):
    folder(tmp_path / "photos")
    (tmp_path / "photo.csv").write_text("x")
    reported = missing_path(tmp_path / "photo", what)
    meant = tmp_path / ("photos" if what == "folder" else "photo.csv")
    assert reported == f'there is no {what} {tmp_path / "photo"}; did you mean "{meant}"?'
    for name in ("photos", "photo.csv"):
        reported = missing_path(tmp_path / name, what)
        assert reported is None or "did you mean" not in reported


def test_a_table_and_a_folder_are_distinguished(tmp_path):
    table, photos = tmp_path / "labels.csv", folder(tmp_path / "photos")
    table.write_text("x")
    hint = f"a table is given as task.data: {{csv: {table}}}"
    assert missing_path(table, "folder") == f"{table} is a file, no folder; {hint}"
    hint = f"a folder is given as task.data: {{folder: {photos}}}"
    assert missing_path(photos, "file") == f"{photos} is a folder, no table; {hint}"


def test_a_pipe_and_a_device_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    reported = missing_path(tmp_path / "labels.csv", "file")
    assert reported == f"{tmp_path / 'labels.csv'} is a named pipe (FIFO), no regular file"
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    assert missing_path(tmp_path / "zero.csv", "file").endswith("is a device, no regular file")


@pytest.mark.parametrize("path", ["~/photos", "$HOME/photos"])
def test_signs_of_a_shell_are_reported(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    reported = f"there is no folder {path}; ~ and $ are not expanded here; write the whole path"
    assert missing_path(Path(path), "folder") == reported


@pytest.mark.parametrize(
    ("there", "given"), [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")]
)
def test_a_folder_in_the_other_form_of_unicode_is_there(tmp_path, there, given):
    folder(tmp_path / there / "photos")
    assert missing_path(tmp_path / given / "photos", "folder") is None


def test_a_zero_byte_and_a_long_name_are_reported(tmp_path):
    assert "cannot be read" in missing_path(tmp_path / "a\0b", "folder")
    assert "cannot be read" in missing_path(tmp_path / ("x" * 5000), "folder")


@pytest.mark.parametrize("key", ["csv", "folder"])
def test_validate_refuses_what_is_there_and_of_another_kind(tmp_path, key):
    os.mkfifo(tmp_path / "pipe")
    (problem,) = open_task(task({key: str(tmp_path / "pipe")}, tmp_path)).problems
    assert problem.path == "task.data"
    assert "is a named pipe (FIFO), no" in problem.message
    assert open_task(task({key: str(tmp_path / "absent")}, tmp_path)).problems == ()
