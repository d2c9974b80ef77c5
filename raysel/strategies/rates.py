"""Learning-rate weights from scores: the one path that all such strategies share.

scores -> guard -> normalise -> weights. A strategy says when its scores are measured and
how; everything after that is here, so the guards are tested once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from raysel.common.deferred_torch import Tensor, torch
from raysel.models.partition_types import Partition
from raysel.strategies.base import Decision, Parameter, Probe, Step, Strategy

Normalise = Literal["max", "none"]

NORMALISE = Parameter(
    "normalise",
    "choice",
    "max",
    "divide the scores by the largest (as the surgical paper's code does), or take them as they "
    "are (as the automatic paper prints them)",
    options=("max", "none"),
)

REFRESH_EACH_EPOCH = Parameter(
    "refresh",
    "choice",
    "epoch",
    "measure before every epoch, or once before the first",
    options=("epoch", "once"),
)


def weights_from_scores(
    scores: Tensor, normalise: Normalise = "max", free: Tensor | None = None
) -> Tensor:
    """The weight of every layer.

    Non-finite and negative scores count as 0. Where no score is left above 0 there is
    nothing distinguishes the layers: all get weight 1.

    Args:
        scores: [L].
        normalise: divide by the largest score, so that the largest weight is 1; or not.
        free: [L] bool, layers whose score is undefined: they get weight 1 and take no
            part in the normalisation (a fresh head, a layer of norm 0; docs/algorithms.md, D13).

    Returns:
        [L] float32 on the CPU, finite, >= 0.
    """
    values = scores.detach().to("cpu", torch.float64)
    undefined = torch.zeros(len(values), dtype=torch.bool) if free is None else free.cpu()
    values = torch.where(torch.isfinite(values) & (values > 0) & ~undefined, values, 0.0)
    largest = values.max() if len(values) else values.sum()
    if largest <= 0:
        return torch.ones(len(values), dtype=torch.float32)
    if normalise == "max":
        values = values / largest
    return torch.where(undefined, 1.0, values).to(torch.float32)


class LayerRates(Strategy):
    """A strategy that weighs the learning rate of each layer by a score.

    Subclasses declare `NORMALISE` among their parameters and implement `scores`; those that
    declare `REFRESH_EACH_EPOCH` are measured before every epoch by default,
    all others once.
    """

    batch_norm = "eval"

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        self._weights = torch.ones(len(partition), dtype=torch.float32)
        self._scores: Tensor | None = None
        self._notes: list[str] = []

    def note(self, sentence: str) -> None:
        """Say something of the measurement under way, for `take_notes`."""
        self._notes.append(sentence)

    def take_notes(self) -> list[str]:
        """What the last measurement said."""
        taken, self._notes = self._notes, []
        return taken

    @abstractmethod
    def scores(self, probe: Probe) -> Tensor:
        """A score for every layer, [L]; where it is NaN the score is undefined and the layer
        gets weight 1 (docs/algorithms.md, D13).
        """

    def prepare(self, probe: Probe) -> None:
        """Measure, for strategies that measure once."""
        if self.values.get("refresh", "once") == "once":
            self._measure(probe)

    def epoch_start(self, epoch: int, epochs: int, probe: Probe) -> None:
        """Measure, for strategies that measure before every epoch."""
        if self.values.get("refresh", "once") == "epoch":
            self._measure(probe)

    def _measure(self, probe: Probe) -> None:
        scores = self.scores(probe).detach().to("cpu", torch.float64)
        self._scores = scores
        self._weights = weights_from_scores(
            scores, self.values["normalise"], free=torch.isnan(scores)
        )

    def decide(self, step: Step) -> Decision:
        """The weights of the last measurement."""
        return Decision(self._weights, self._scores)

    def state_dict(self) -> dict[str, Any]:
        """Weights and scores of the last measurement."""
        return {"weights": self._weights, "scores": self._scores}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them up."""
        self._weights, self._scores = state["weights"], state["scores"]
