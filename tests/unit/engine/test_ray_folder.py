"""Ray's folder for sockets: what cannot work is reported before the start, with the remedy."""

import os
import sys

import pytest

from raysel.cli import main
from raysel.common.errors import UserError
from raysel.engine.ray_folder import MOST_BYTES, check_ray_folder


def longest(folder: str) -> int:
    name = f"session_2026-01-01_00-00-00_000000_{os.getpid()}"
    return len(f"{folder}/ray/{name}/sockets/plasma_store".encode())


def test_the_limit_is_that_of_the_socket_and_not_of_the_folder():
    fits = "/tmp/" + "x" * (MOST_BYTES - longest("/tmp/"))
    assert longest(fits) == MOST_BYTES
    check_ray_folder({"TMPDIR": fits})
    with pytest.raises(
        UserError, match=r"is 1 bytes too long for Ray's sockets; set RAY_TMPDIR=/tmp"
    ):
        check_ray_folder({"TMPDIR": fits + "x"})


def test_what_ray_reads_first_is_what_counts():
    check_ray_folder({"RAY_TMPDIR": "/tmp", "TMPDIR": "/" + "x" * 200})
    check_ray_folder({})
    with pytest.raises(UserError, match=r"^RAY_TMPDIR: "):
        check_ray_folder({"RAY_TMPDIR": "/" + "é" * 100, "TMPDIR": "/tmp"})


def test_a_relative_folder_and_one_below_a_file_are_refused(tmp_path):
    (tmp_path / "f").write_text("")
    short = os.path.relpath(tmp_path, "/")
    for folder, why in (("", "is no absolute path"), (short, "is no absolute path")):
        with pytest.raises(UserError, match=why):
            check_ray_folder({"TMPDIR": folder})
    with pytest.raises(UserError, match="/dev/null is not a folder"):
        check_ray_folder({"TMPDIR": "/dev/null/x"})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has /proc")
def test_a_folder_in_which_nothing_can_be_made_is_refused_and_not_tried_again():
    with pytest.raises(UserError, match=r"cannot hold Ray's files: .* in /proc; set RAY_TMPDIR="):
        check_ray_folder({"TMPDIR": "/proc"})


FILE = """
name: x
task: {data: digits, split: {train: 60, validation: 60, test: 60}}
model: {name: test_resnet}
strategies: {full: }
"""


def test_run_reports_it_before_anything_is_spent(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "x.yaml").write_text(FILE)
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'x' * 90}")
    assert main.main(["run", "x.yaml"]) == 2
    reported = capsys.readouterr().err
    assert reported.startswith("error  RAY_TMPDIR: ") and "set RAY_TMPDIR=/tmp" in reported
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]
