"""A trial that is taken up: what its checkpoint knows and the record lacks is reported, not run."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_memory import begun, rows
from trial_kit import config

EPOCHS = 4


@pytest.mark.parametrize(("reported", "first"), [(0, 1), (1, 2), (2, 3), (3, 3), (9, 3)])
def test_epochs_that_the_record_lacks_are_reported_again_the_last_one_always(
    tmp_path: Path, reported: int, first: int
) -> None:
    asked = config("full", epochs=EPOCHS)
    whole = rows(begun(tmp_path / "a", asked), EPOCHS)
    rows(begun(tmp_path / "b", asked), 3)  # its process is gone after three epochs
    again = begun(tmp_path / "b", asked, reported)
    parts = tmp_path / "b" / "trials" / "0000" / "trace"
    written = {part.name: part.stat().st_mtime_ns for part in parts.iterdir()}
    assert rows(again, 3 - first + 1) == whole[first - 1 : 3]
    assert {part.name: part.stat().st_mtime_ns for part in parts.iterdir()} == written
    assert rows(again, 1) == whole[3:]
