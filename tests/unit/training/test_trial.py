"""A trial that is taken up: what its checkpoint knows and the record lacks is reported, not run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from test_memory import begun, rows
from trial_kit import config

EPOCHS = 4
ASKED = config("full", epochs=EPOCHS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The epochs of a trial that never stopped."""
    return rows(begun(tmp_path_factory.mktemp("whole"), ASKED), EPOCHS)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one whose process is gone after three epochs."""
    folder = tmp_path_factory.mktemp("left")
    rows(begun(folder, ASKED), 3)
    return folder


@pytest.mark.parametrize(("reported", "first"), [(0, 1), (1, 2), (2, 3), (3, 3), (9, 3)])
def test_epochs_that_the_record_lacks_are_reported_again_the_last_one_always(
    whole: list[dict[str, Any]], left: Path, tmp_path: Path, reported: int, first: int
) -> None:
    folder = shutil.copytree(left, tmp_path / "b")
    again = begun(folder, ASKED, reported)
    parts = folder / "trials" / "0000" / "trace"
    written = {part.name: part.stat().st_mtime_ns for part in parts.iterdir()}
    assert rows(again, 3 - first + 1) == whole[first - 1 : 3]
    assert {part.name: part.stat().st_mtime_ns for part in parts.iterdir()} == written
    assert rows(again, 1) == whole[3:]
