"""Access to the model and to data without side effects, for strategies between
epochs.

The model is given as a copy in eval mode, so weights, buffers, flags and batch-norm
statistics of the trained one cannot change; the caller restores the random state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from raysel.models.layers import Partition
from raysel.strategies.base import Domain
from raysel.training.batches import Batch, Data, in_order, permutation

_SAMPLE = 3
"""Purpose of the random order in which examples are measured; the loop has 1, 2 and 4."""


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
        seed: the trial's.

    Attributes:
        epoch: the trial's, from 1; 0 before the first. With the seed it draws which examples come
            first.
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
        seed: int = 0,
    ) -> None:
        self.epoch = 0
        self.partition = partition
        self.fresh_head = fresh_head
        self._fine_tune = fine_tune
        self._model = model
        self._examples: dict[Domain, Data | None] = {"target": target, "source": source}
        self._batch_size, self._seed = batch_size, seed

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
        """The first `count` batches of the domain, in a random order of this seed and epoch: what
        a measurement owes to its sample then differs between training seeds as the training does
        (docs/algorithms.md, D45)."""
        examples = self._examples[domain]
        if examples is None:
            raise LookupError(f"this task has no {domain} data")
        order = permutation(len(examples), self._seed, self.epoch, _SAMPLE)
        return in_order(examples, order, self._batch_size)[:count]
