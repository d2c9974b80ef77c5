"""A trial whose sweep loses its folder is not the one at fault: it fails the sweep, not itself."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_kit import shared
from trial_kit import config

from raysel.training import trial
from raysel.training.checkpoint import InFolder
from raysel.training.trial import TrialRun
from raysel.training.trial_files import TOKEN
from raysel.training.trial_worker import TrialWorker
from raysel.training.worker_messages import EnvironmentErrorMessage, EpochMessage, FailureMessage


def _begun(folder: Path) -> TrialRun:
    (folder / "trials").mkdir(parents=True)  # by the driver
    (folder / TOKEN).write_text("of the driver", encoding="utf-8")
    worker = TrialWorker(shared(folder, token="of the driver"))
    steps = TrialRun(worker, "0000", config("full", epochs=3))
    assert isinstance(steps.epoch(), EpochMessage)
    return steps


def _replace(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    "action", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("new")), _replace]
)
def test_a_folder_that_is_gone_is_the_sweeps_failure(
    tmp_path: Path, action: Callable[[Path], object]
) -> None:
    folder = tmp_path / "sweep"
    steps = _begun(folder)
    action(folder)
    row = steps.epoch()
    assert isinstance(row, EnvironmentErrorMessage)
    assert "is not the folder any more" in row.cause
    assert not (folder / "trials").exists()  # nothing is written beside the one that was renamed


def test_trials_that_were_moved_are_the_sweeps_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sweep"
    steps = _begun(folder)
    assert steps.tuning is not None
    run_epoch = steps.tuning.run_epoch

    def moved_meanwhile() -> object:
        (folder / "trials").rename(folder / "elsewhere")
        return run_epoch()

    monkeypatch.setattr(steps.tuning, "run_epoch", moved_meanwhile)
    for _ in range(2):
        row = steps.epoch()
        assert isinstance(row, EnvironmentErrorMessage)
        assert "cannot be read or written" in row.cause
    assert not (folder / "trials").exists()  # so that they can be moved back


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EROFS, errno.ENOSPC]
)
def test_a_checkpoint_that_cannot_be_written_is_the_sweeps_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = tmp_path / "sweep"
    steps = _begun(folder)

    def fails(*_: object) -> None:
        raise OSError(number, "cannot", str(folder))

    monkeypatch.setattr(InFolder, "save", fails)
    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", 0.0)
    row = steps.epoch()
    assert isinstance(row, EnvironmentErrorMessage) and "cannot" in row.cause


def test_a_file_of_the_users_own_that_is_lacking_is_the_trials_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = _begun(tmp_path / "sweep")

    def fails() -> None:
        raise FileNotFoundError(errno.ENOENT, "no such file", "/elsewhere/weights.txt")

    assert steps.tuning is not None
    monkeypatch.setattr(steps.tuning, "run_epoch", fails)
    failure = steps.epoch()
    assert isinstance(failure, FailureMessage) and "no such file" in failure.cause
