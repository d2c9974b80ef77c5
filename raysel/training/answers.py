"""What a confirmed model answers to each test example: a file beside the confusion matrix.

The test part is the same in every confirm run of a sweep, in the same order, so that two runs can
be compared example by example.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysel.common.user_files import irregular

FILE = "answers.npz"


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of each example, in their order.

    Attributes:
        labels: int64 [n] true classes.
        predicted: int64 [n] the likeliest class.
        in_top5: [n] whether the class is among the five likeliest; None of five classes or fewer.
        confidence: float32 [n] probability of the predicted class by softmax; None of a run of an
            older raysel.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    in_top5: NDArray[np.bool_] | None
    confidence: NDArray[np.float32] | None = None

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """[n] whether another class was predicted."""
        result: NDArray[np.bool_] = self.labels != self.predicted
        return result

    def losses(self, measure: str) -> NDArray[np.float64] | None:
        """[n] a loss of each example whose mean is the run's metric.

        Args:
            measure: `test/error`, `test/balanced_error` or `test/top5_error`.

        Returns:
            None for a metric that the answers do not give.
        """
        wrong = self.wrong.astype(np.float64)
        if measure == "test/error":
            return wrong
        if measure == "test/balanced_error":
            counts = np.bincount(self.labels)
            result: NDArray[np.float64] = wrong * (
                len(wrong) / (np.count_nonzero(counts) * counts[self.labels])
            )
            return result
        if measure == "test/top5_error" and self.in_top5 is not None:
            return (~self.in_top5).astype(np.float64)
        return None


def write_answers(folder: Path, answers: Answers) -> None:
    """Write `answers.npz` into a run's folder."""
    arrays = {
        "labels": answers.labels.astype(np.int32),
        "predicted": answers.predicted.astype(np.int32),
    }
    packed: dict[str, NDArray[Any]] = {}
    if answers.in_top5 is not None:
        packed["in_top5"] = np.packbits(answers.in_top5)
    if answers.confidence is not None:
        packed["confidence"] = answers.confidence.astype(np.float16)
    partial = folder / f".{FILE}.partial"
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays, **packed)
    partial.replace(folder / FILE)


def read_answers(folder: Path) -> Answers | None:
    """The answers of a run; None where it has none that can be read."""
    try:
        if irregular(folder / FILE):  # a pipe would wait for a writer
            return None
        with np.load(folder / FILE, allow_pickle=False) as file:
            labels, predicted = (file[name].astype(np.int64) for name in ("labels", "predicted"))
            packed, confidence = file.get("in_top5"), file.get("confidence")
        if labels.ndim != 1 or labels.shape != predicted.shape or not len(labels):
            return None
        in_top5 = None if packed is None else np.unpackbits(packed, count=len(labels)).astype(bool)
        if confidence is not None:
            confidence = confidence.astype(np.float32)
            if confidence.shape != labels.shape:
                return None
        return Answers(labels, predicted, in_top5, confidence)
    except Exception:  # none, or damaged
        return None
