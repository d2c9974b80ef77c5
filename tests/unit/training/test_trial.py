"""A trial that is taken up: what its checkpoint knows and the record lacks is reported, not run."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from few_kit import several
from test_memory import begun, rows
from trial_kit import config
from trial_strategies import Alternating, registered_for_a_test

from raysel.training import trial
from raysel.training.checkpoint import InFolder

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
    with pytest.MonkeyPatch.context() as every_epoch:
        every_epoch.setattr(trial, "CHECKPOINT_SECONDS", 0.0)
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


@pytest.mark.parametrize(
    ("seconds", "kept"),
    several(2, [(0.0, [1, 2, 3, 4]), (2.5, [3, 4]), (10.0, [4]), (0.5, [1, 2, 3, 4])]),
)
def test_a_checkpoint_is_written_after_so_many_seconds_and_after_the_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, kept: list[int]
) -> None:
    now = [0.0]
    monkeypatch.setattr(trial, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", seconds)
    saved: list[int] = []
    monkeypatch.setattr(InFolder, "save", lambda _, state: saved.append(state["epoch"]))
    run = begun(tmp_path, ASKED)
    for _ in range(EPOCHS):
        now[0] += 1.0
        run.epoch()
    assert saved == kept


def test_what_ran_since_the_last_checkpoint_runs_again_and_is_the_same(
    whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    assert rows(begun(folder, ASKED), 3) == whole[:3]  # its process is gone; no checkpoint yet
    assert rows(begun(folder, ASKED, reported=3), EPOCHS) == whole


class Talkative(Alternating):
    """Says something of its second epoch."""

    name = "talkative"

    def take_notes(self) -> list[str]:
        self.asked = getattr(self, "asked", 0) + 1
        return ["layer 2 has no score"] if self.asked == 2 else []


def test_what_a_strategy_says_of_its_measurement_is_kept_with_the_epoch(tmp_path: Path) -> None:
    with registered_for_a_test(Talkative):
        run = begun(tmp_path, config("talkative", epochs=3))
        assert [run.epoch().note for _ in range(3)] == [None, "layer 2 has no score", None]
