"""A probe whose examples come in the order in which a test wrote them."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.strategies.base import Domain
from raysel.training.batches import Batch
from raysel.training.probe import TrialProbe


class OrderedProbe(TrialProbe):
    """A trial's own, but for the shuffling."""

    def batches(self, domain: Domain, count: int | None = None) -> Sequence[Batch]:
        """The first `count` batches."""
        super().batches(domain)  # tells where there are none
        examples = self._examples[domain]
        assert examples is not None
        return examples.split(self._batch_size)[:count]
