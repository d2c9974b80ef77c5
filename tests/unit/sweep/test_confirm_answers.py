"""Whose answers `answers.npz` has: nothing in it says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from confirm_kit import entry

from raysel.sweep.confirm_answers import answers_of
from raysel.training.answers import Answers, write_answers

LABELS = np.array([0, 1, 2, 3])


def write(folder: Path, name: str, labels: np.ndarray, wrong: int) -> None:
    (folder / name).mkdir()
    predicted = labels.copy()
    predicted[:wrong] += 1
    write_answers(folder / name, Answers(labels, predicted, None, None))


def test_answers_with_another_error_or_other_labels_are_not_the_runs(tmp_path: Path) -> None:
    runs = entry("full", [0.25, 0.25, 0.25, 0.5, 0.25]).runs
    for run, labels, wrong in zip(
        runs, [LABELS, LABELS, np.roll(LABELS, 1), LABELS, LABELS], [1, 1, 1, 1, 2], strict=True
    ):
        write(tmp_path, run.id, labels, wrong)
    found = answers_of(runs, lambda run: tmp_path / run)
    # the third has its labels in another order, the fourth the second's file, the last another's
    assert [found[run.id] is not None for run in runs] == [True, True, False, False, False]


def test_a_run_without_a_recorded_error_keeps_its_answers(tmp_path: Path) -> None:
    (run,) = entry("full", [None]).runs
    write(tmp_path, run.id, LABELS, 3)
    assert answers_of([run], lambda name: tmp_path / name)[run.id] is not None
    (tmp_path / run.id / "answers.npz").write_bytes(b"cut")
    assert answers_of([run], lambda name: tmp_path / name)[run.id] is None
