"""How a trial's files get to where the sweep keeps them, without a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysel.training.checkpoint import InFolder
from raysel.training.trial_files import TOKEN, TrialFiles, sees


def test_a_node_sees_the_drivers_folder_by_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / TOKEN).write_text("now")
    assert sees(tmp_path, "now")
    assert not sees(tmp_path, "then")  # a copy that an earlier life left
    assert not sees(tmp_path / "none", "now")
    assert sees(tmp_path / "none", None)  # no other node runs trials


def test_what_is_new_is_carried_once(tmp_path: Path) -> None:
    files = TrialFiles(tmp_path, None, away=True)
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / "epoch-0001.parquet").write_bytes(b"1")
    (tmp_path / "machine.json").write_bytes(b"[]")
    (tmp_path / ".half").write_bytes(b"no")
    assert files.keep({"epoch": 1}) is None
    assert files.unsent_files() == {"trace/epoch-0001.parquet": b"1", "machine.json": b"[]"}
    assert files.unsent_files() == {}
    (tmp_path / "machine.json").write_bytes(b"[1]")
    assert files.unsent_files() == {"machine.json": b"[1]"}


def test_nothing_is_carried_where_the_driver_sees_the_folder(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_bytes(b"[]")
    assert TrialFiles(tmp_path, None, away=False).unsent_files() == {}


@pytest.mark.parametrize("away", [True, False])
def test_a_checkpoint_that_only_this_node_knows_of_goes_with_its_trial(
    tmp_path: Path, away: bool
) -> None:
    files = TrialFiles(tmp_path, None, away)
    files.keep({"epoch": 1})
    files.leave()
    assert (InFolder(tmp_path).newest()[0] is None) == away
