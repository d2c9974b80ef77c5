"""The command that goes on with a sweep, as it is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysel.common.errors import OperationalError
from raysel.record.layout import SweepFolder, make_folder


@pytest.mark.parametrize(
    ("storage", "command"),
    [
        ("runs", "raysel resume digits"),
        ("elsewhere", "raysel resume digits --storage {here}/elsewhere"),
        ("my runs", "raysel resume digits --storage '{here}/my runs'"),
        (
            "s3://bucket/folder?region=eu",
            "raysel resume digits --storage 's3://bucket/folder?region=eu'",
        ),
    ],
)
def test_the_storage_is_named_where_it_is_not_the_default(
    storage: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert SweepFolder.of(storage, "digits").resume() == command.format(here=tmp_path)


def test_options_stand_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    more = SweepFolder.of("runs", "digits").resume("--set", "budget.hours=MORE")
    assert more == "raysel resume digits --set budget.hours=MORE"


def test_a_file_in_the_place_of_a_folder_is_set_aside_and_a_link_to_nowhere_is_named(
    tmp_path: Path,
) -> None:
    trials = tmp_path / "trials"
    trials.write_text("mine")
    make_folder(trials)
    make_folder(trials)  # it is there
    assert trials.is_dir()
    (aside,) = tmp_path.glob("trials.damaged-*")
    assert aside.read_text() == "mine"
    trials.rmdir()
    trials.symlink_to("unmounted")
    with pytest.raises(OperationalError, match="trials: is a link to unmounted, which is not th"):
        make_folder(trials)
    assert trials.is_symlink()
