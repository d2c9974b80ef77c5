"""Metrics of a model: error, loss, and metrics for imbalanced data sets.

All is counted on the device and read once, when every example was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from raysel.tasks.groups import Groups
from raysel.training.answers import Answers

TOP = 5


@dataclass(frozen=True)
class Measured:
    """The outcome over all examples.

    Attributes:
        loss: mean cross-entropy.
        confusion: int64 [C, C] on the CPU: examples of class i (row) taken for class j.
        top5_error: share of examples whose class is not among the five likeliest; None where
            there are no more than five classes.
        answers: of each example, where they were asked for.
        group_errors: of each group that has examples, by name; empty without groups.
    """

    loss: float
    confusion: Tensor
    top5_error: float | None
    answers: Answers | None = None
    group_errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def error(self) -> float:
        """Share of examples taken for another class, 0..1."""
        total = int(self.confusion.sum())
        return (total - int(self.confusion.trace())) / total

    @property
    def balanced_error(self) -> float:
        """Mean over the classes that have examples of each one's error, 0..1."""
        counts = self.confusion.sum(dim=1).double()
        right = self.confusion.diagonal().double()
        there = counts > 0
        return float(1.0 - (right[there] / counts[there]).mean())

    def by_name(self, prefix: str) -> dict[str, float]:
        """`<prefix>/error`, `/loss`, `/balanced_error`, and `/top5_error` and `/worst_group_error`
        where they are known."""
        metrics = {
            f"{prefix}/error": self.error,
            f"{prefix}/loss": self.loss,
            f"{prefix}/balanced_error": self.balanced_error,
        }
        if self.top5_error is not None:
            metrics[f"{prefix}/top5_error"] = self.top5_error
        if self.group_errors:
            metrics[f"{prefix}/worst_group_error"] = max(self.group_errors.values())
        return metrics


class _BatchAnswers(NamedTuple):
    """[m] of a batch: true class, predicted class, its probability, whether the class is not among
    the five likeliest."""

    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    missed: Tensor | None


class MetricAccumulator:
    """Counts batches on a device; nothing is read before `measured`.

    Args:
        answers: keep what the model says of each example.
        groups: of the examples, in the order in which they come.
    """

    def __init__(
        self, device: torch.device, answers: bool = False, groups: Groups | None = None
    ) -> None:
        self._groups = groups
        self._wrong: list[Tensor] = []
        self._device = device
        self._answers: list[_BatchAnswers] | None = [] if answers else None
        self._loss = torch.zeros((), device=device, dtype=torch.float64)
        self._missed = torch.zeros((), device=device, dtype=torch.int64)
        self._confusion: Tensor | None = None
        self._classes = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits float32 [m, C], labels [m]."""
        if self._confusion is None:
            self._classes = logits.shape[1]
            size = self._classes**2
            self._confusion = torch.zeros(size, device=self._device, dtype=torch.int64)
        predicted, missed = logits.argmax(1), None
        places = labels * self._classes + predicted
        self._confusion.index_add_(0, places, torch.ones_like(places))
        if self._groups is not None:
            self._wrong.append(predicted != labels)
        if self._classes > TOP:
            likeliest = logits.topk(TOP, dim=1).indices
            missed = (likeliest != labels[:, None]).all(dim=1)
            self._missed += missed.sum()
        if self._answers is not None:
            confidence = logits.softmax(1).amax(1)
            self._answers.append(_BatchAnswers(labels, predicted, confidence, missed))
        self._loss += functional.cross_entropy(logits, labels, reduction="sum").double()

    def measured(self) -> Measured:
        """The outcome; this waits for the device."""
        assert self._confusion is not None
        confusion = self._confusion.reshape(self._classes, self._classes).cpu()
        count = int(confusion.sum())
        missed = int(self._missed) / count if self._classes > TOP else None
        loss, answers = float(self._loss) / count, self._kept()
        return Measured(loss, confusion, missed, answers, self._by_group())

    def _by_group(self) -> dict[str, float]:
        if self._groups is None:
            return {}
        return self._groups.errors(torch.cat(self._wrong).cpu().numpy())

    def _kept(self) -> Answers | None:
        if self._answers is None:
            return None
        whole = [
            torch.cat([getattr(batch, name) for batch in self._answers]).cpu().numpy()
            for name in ("labels", "predicted", "confidence")
        ]
        missed = [batch.missed for batch in self._answers if batch.missed is not None]
        in_top5 = ~torch.cat(missed).cpu().numpy() if missed else None
        return Answers(whole[0], whole[1], in_top5, whole[2])
