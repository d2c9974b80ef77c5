"""Access to the model and to data without side effects, for strategies between
epochs.

The model is given as a copy in eval mode, so weights, buffers, flags and batch-norm
statistics of the trained one cannot change; the caller restores the random state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from raysel.models.layers import Partition
from raysel.strategies.base import Domain
from raysel.training.batches import Batch, Data, in_order


class TrialProbe:
    """The `Probe` of one trial.

    Args:
        model: the model in training.
        partition: its layers.
        target: the target's training examples; None where there are none at hand.
        source: source examples, where the task has them.
        batch_size: of the batches that it gives.
        fresh_head: whether the head was newly initialised.
        fine_tune: trains a model in place for some epochs as this trial does.
    """

    def __init__(
        self,
        model: nn.Module,
        partition: Partition,
        target: Data | None,
        source: Data | None,
        batch_size: int,
        fresh_head: bool = False,
        fine_tune: Callable[[nn.Module, int], None] | None = None,
    ) -> None:
        self.partition = partition
        self.fresh_head = fresh_head
        self._fine_tune = fine_tune
        self._model = model
        self._examples: dict[Domain, Data | None] = {"target": target, "source": source}
        self._batch_size = batch_size

    @contextmanager
    def model(self) -> Iterator[nn.Module]:
        """A copy in eval mode, with a gradient for every parameter."""
        scratch = copy.deepcopy(self._model).eval()
        for parameter in scratch.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        yield scratch

    @contextmanager
    def fine_tuned(self, epochs: int) -> Iterator[nn.Module]:
        """A copy, fully fine-tuned on the target for some epochs, in eval mode."""
        with self.model() as scratch:
            if epochs:
                assert self._fine_tune is not None
                self._fine_tune(scratch, epochs)
                for parameter in scratch.parameters():
                    parameter.requires_grad_(True)
                    parameter.grad = None
            yield scratch.eval()

    def batches(self, domain: Domain, count: int | None = None) -> Sequence[Batch]:
        """The first `count` batches of the domain, in one random order for all trials: a data set
        may list its examples class by class."""
        examples = self._examples[domain]
        if examples is None:
            raise LookupError(f"this task has no {domain} data")
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(examples)))
        return in_order(examples, order, self._batch_size)[:count]
