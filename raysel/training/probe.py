"""Measured access to the model and to data that leaves no trace: what strategies see between
epochs.

The model is handed out as a copy in eval mode, so weights, buffers, flags and batch-norm
statistics of the trained one cannot change; the caller restores the random state.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from raysel.models.layers import Partition
from raysel.strategies.base import Domain
from raysel.training.batches import Batch


class TrialProbe:
    """The `Probe` of one trial.

    Args:
        model: the model in training.
        partition: its layers.
        target: the target's training examples.
        source: source examples, where the task has them.
        batch_size: of the batches that are handed out.
    """

    def __init__(
        self,
        model: nn.Module,
        partition: Partition,
        target: Batch,
        source: Batch | None,
        batch_size: int,
    ) -> None:
        self.partition = partition
        self._model = model
        self._examples: dict[Domain, Batch | None] = {"target": target, "source": source}
        self._batch_size = batch_size

    @contextmanager
    def model(self) -> Iterator[nn.Module]:
        """A copy in eval mode, with a gradient for every parameter."""
        scratch = copy.deepcopy(self._model).eval()
        for parameter in scratch.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        yield scratch

    def batches(self, domain: Domain, count: int | None = None) -> list[Batch]:
        """The first `count` batches of the domain in its own order, which is shuffled once."""
        examples = self._examples[domain]
        if examples is None:
            raise LookupError(f"this task has no {domain} data")
        return examples.split(self._batch_size)[:count]
