"""The record, its log or the folder goes away under a running sweep, or its disk becomes read-only:
the sweep never ends as if it had a record, and goes on the way that it prints."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysel.cli.main import main
from raysel.spec.sweep import Spec

from .disks import mounted
from .drivers import check_agreement, here, live, one_line, same, write

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

NAME = "gone"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    with mounted(tmp_path / "disk", "200m") as place:
        yield place


def swept(where: Path, tmp_path: Path, action: str, moment: str, count: int) -> tuple[str, Spec]:
    """The line with which the sweep ended, in a process of its own."""
    more = {"tracking.uri": f"sqlite:///{tmp_path}/mlflow.db"}
    file, spec = write(tmp_path / "f.yaml", NAME, where, **more)
    run = ("run", str(file), "--quiet")
    code, _, err = live(*run, moment=moment, count=count, action=action, SWEEP=str(where / NAME))
    assert code == 1
    return one_line(err), spec


def go_on(line: str) -> int:
    """Do what the line says."""
    command = shlex.split(line[line.index("raysel resume") :])
    return main([*command[1:], "--quiet"])


@pytest.mark.parametrize(
    ("action", "moment", "count"),
    [
        ("remove record", "after epoch", 5),
        ("remove log", "after epoch", 5),
        ("remove folder", "after epoch", 5),
        ("remove folder", "after confirm epoch", 2),
        ("remove record", "before results", 1),
    ],
)
def test_what_was_removed_is_written_anew(
    ray_cluster: None,
    tmp_path: Path,
    tiny_reference: list[object],
    action: str,
    moment: str,
    count: int,
) -> None:
    line, spec = swept(tmp_path / "runs", tmp_path, action, moment, count)
    assert "was removed" in line
    assert go_on(line) == 0
    assert same(spec, tiny_reference)


def test_a_renamed_folder_goes_on_under_its_new_name(
    ray_cluster: None, tmp_path: Path, tiny_reference: list[object]
) -> None:
    runs = tmp_path / "runs"
    line, spec = swept(runs, tmp_path, "rename folder", "after epoch", 5)
    assert not (runs / NAME).exists()
    assert go_on(line) == 0
    assert not (runs / NAME).exists()
    (runs / "elsewhere").rename(runs / NAME)
    assert same(spec, tiny_reference)


def test_moved_trials_are_moved_back(
    ray_cluster: None, tmp_path: Path, tiny_reference: list[object]
) -> None:
    runs = tmp_path / "runs"
    line, spec = swept(runs, tmp_path, "move trials", "after epoch", 5)
    assert f"was moved to {runs / NAME}/trials.old while" in line
    assert "trials.old while" in here("list", "--storage", str(runs))[1]  # the record says why
    (runs / NAME / "trials.old").rename(runs / NAME / "trials")  # nothing was made in its place
    assert go_on(line) == 0
    assert same(spec, tiny_reference)


def test_a_disk_that_became_read_only_fails_no_trial(
    ray_cluster: None, tmp_path: Path, disk: Path, tiny_reference: list[object]
) -> None:
    line, spec = swept(disk / "runs", tmp_path, "make read-only", "after epoch", 5)
    assert "read-only" in line
    subprocess.run(["umount", str(disk / "runs")], check=True)
    assert go_on(line) == 0
    check_agreement(spec)
    assert same(spec, tiny_reference)
