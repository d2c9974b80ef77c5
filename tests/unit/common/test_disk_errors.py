"""What a full or read-only disk makes a verb raise is one line, and rm works on a full one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from raysel.cli import main
from raysel.common.disk_errors import of_a_file, of_the_disk
from raysel.record.layout import write_whole
from raysel.record.ownership import FileOwner, OwnedElsewhere


def test_the_cause_is_found_behind_other_exceptions() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as full:
            raise RuntimeError("torch could not write") from full
    except RuntimeError as error:
        assert "the disk is full; make space" in str(of_the_disk(error))


def test_rights_name_their_file_and_other_errors_are_none() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/x/y")
    assert of_the_disk(error) is None
    words = of_a_file(error)
    assert words is not None
    assert words.startswith("/x/y: cannot be read or written (permission denied): ")
    assert of_a_file(ValueError("a mistake of ours")) is None


def test_a_working_folder_that_was_removed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main.main(["list"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the working folder was removed or renamed: change into one that is there" in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_every_verb_reports_it_in_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/data/runs/file")

    monkeypatch.setattr("raysel.search.json_schema.sweep_schema", fails)
    assert main.main(["schema"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "/data/runs/file" in line


def test_a_mistake_of_ours_is_still_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr("raysel.search.json_schema.sweep_schema", fails)
    with pytest.raises(ValueError):
        main.main(["schema"])


def test_a_file_that_does_not_fit_leaves_no_part_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> None:
        self.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"index\.html"):
        write_whole(tmp_path / "index.html", "x")
    assert not [*tmp_path.iterdir()]


def test_the_lock_is_held_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("raysel.record.ownership.os.write", full)
    owner = FileOwner(tmp_path / "owner.lock", "a")
    with pytest.raises(OwnedElsewhere):
        FileOwner(tmp_path / "owner.lock", "a")
    owner.release()
    FileOwner(tmp_path / "owner.lock", "a").release()
