"""Masks that follow a schedule: which layers move depends on the epoch alone.

Gradual unfreezing (Howard and Ruder, ULMFiT, section 3.3; Lee et al. compare both
directions) unfreezes one more layer a stage, from the last to the first or the other way:

    unfrozen(e) = min(L, floor((e-1) / k) + 1),  k epochs a stage, the rest in the last stage
    eta^{l-1} = eta^l / 2.6                      (discriminative rates, optional)

LP-FT (Kumar et al.) trains the classifier for E1 epochs, then everything.

A frozen layer keeps its parameters bit for bit, and its optimizer state stays empty until
it is unfrozen; the state of layers that move already is kept from stage to stage.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from raysel.common.deferred_torch import Tensor, torch
from raysel.models.partition_types import Partition
from raysel.strategies.base import (
    Choice,
    Cost,
    Decision,
    FloatRange,
    IntRange,
    Parameter,
    Probe,
    Step,
    Strategy,
    TrainingOverride,
)
from raysel.strategies.registry import register
from raysel.strategies.static import classifier_parameters

_SURGICAL = "Lee et al., Surgical Fine-Tuning Improves Adaptation to Distribution Shifts"
_ULMFIT = "Howard and Ruder, Universal Language Model Fine-tuning, section 3"
_LP_FT = "Kumar et al., Fine-Tuning can Distort Pretrained Features, section 4"

# --- the schedules -------------------------------------------------------------------------------


def unfrozen_count(epoch: int, epochs: int, layers: int, epochs_per_stage: int = 0) -> int:
    """How many layers move in an epoch (counted from 1) of `epochs`.

    Args:
        layers: L.
        epochs_per_stage: 0 derives it, so that the last epoch trains every layer:
            max(1, floor(E/L)) with the remainder in the last stage; where E < L,
            ceil(L/E) layers more at every epoch.
    """
    if epochs_per_stage:
        return min(layers, (epoch - 1) // epochs_per_stage + 1)
    if epochs < layers:
        return min(layers, epoch * -(-layers // epochs))
    return min(layers, (epoch - 1) // (epochs // layers) + 1)


def discriminative_rates(layers: int, decay: float) -> Tensor:
    """w_L = 1, w_{l-1} = w_l / decay; [L] float32."""
    return torch.tensor([decay ** -(layers - 1 - layer) for layer in range(layers)])


# --- the strategies ------------------------------------------------------------------------------


class _Scheduled(Strategy):
    """Weights that hold for an epoch; nothing is learnt, so there is no state to save."""

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        self._fresh_head = False
        self._decision = Decision(torch.zeros(len(partition)))

    def epoch_start(self, epoch: int, epochs: int, probe: Probe) -> None:
        """Look up the epoch's weights."""
        self._fresh_head = probe.fresh_head
        rates = self.rates(epoch, epochs)
        inactive = [i for i in range(len(rates)) if i not in self.active(epoch, epochs)]
        rates[inactive] = 0.0
        self._decision = Decision(rates)

    @abstractmethod
    def rates(self, epoch: int, epochs: int) -> Tensor:
        """The weight of every layer that is active in this epoch, [L] float32."""

    def decide(self, step: Step) -> Decision:
        """The same weights at every step of an epoch."""
        return self._decision


@register
class GradualUnfreeze(_Scheduled):
    """One more layer moves at every stage.

    A head that was newly initialised moves from the first stage on in both directions: below
    a frozen random head there is nothing to learn (docs/algorithms.md, D30).
    """

    name = "gradual_unfreeze"
    summary = "one more layer moves at every stage, from the last to the first or the other way"
    paper = f"{_ULMFIT}.3 (and 3.2 for the decay); {_SURGICAL}: a baseline in both directions"
    batch_norm = "frozen_eval"
    parameters = (
        Parameter(
            "direction",
            "choice",
            "last_to_first",
            "which layer moves first",
            options=("last_to_first", "first_to_last"),
            search=Choice(categorical=("last_to_first", "first_to_last")),
        ),
        Parameter(
            "epochs_per_stage",
            "int",
            None,
            "how long a stage is; without it, or 0, so long that the last epoch trains every "
            "layer; a longer one than the trial has epochs for leaves layers frozen",
            low=0,
            optional=True,
            published=1,
            search=IntRange.model_validate({"int": (1, 3)}),
        ),
        Parameter(
            "decay",
            "float",
            1.0,
            "each layer's learning rate is that of the next one divided by this; 2.6 in ULMFiT",
            low=1.0,
            search=Choice(categorical=(1.0, 2.6)),
        ),
    )
    published = TrainingOverride(optimizer="adam", learning_rate=1e-3, weight_decay=1e-4)
    differs = (
        "no learning rate is published for vision models: optimizer, rate and weight decay are "
        "those of surgical, whose paper compares with it"
    )
    cost = Cost(during="no backward pass below the lowest layer that moves: less in early stages")

    def active(self, epoch: int, epochs: int) -> list[int]:
        """The layers unfrozen so far, and the one that holds a fresh classifier."""
        fresh = {self.partition.head_layer} if self._fresh_head else set()
        return sorted(fresh.union(self._unfrozen(epoch, epochs)))

    def active_parameters(self, epoch: int, epochs: int) -> frozenset[str]:
        """The parameters of the layers unfrozen so far, and a fresh classifier's."""
        unfrozen = self.partition.parameters_of(self._unfrozen(epoch, epochs))
        return unfrozen | classifier_parameters(self.partition) if self._fresh_head else unfrozen

    def _unfrozen(self, epoch: int, epochs: int) -> list[int]:
        layers = len(self.partition)
        count = unfrozen_count(epoch, epochs, layers, self.values["epochs_per_stage"] or 0)
        order = range(layers)
        return list(
            order[-count:] if self.values["direction"] == "last_to_first" else order[:count]
        )

    def rates(self, epoch: int, epochs: int) -> Tensor:
        """The discriminative rates."""
        return discriminative_rates(len(self.partition), self.values["decay"])


@register
class ProbeThenTune(_Scheduled):
    """First the classifier alone, then every layer.

    With as many probe epochs as the trial has it is `linear_probe`, with none `full`.
    """

    name = "lp_ft"
    summary = "the classifier alone for some epochs, then every layer"
    paper = f"{_LP_FT}; the automatic paper probes 2 epochs at 0.1, then tunes 3 at 1e-5"
    batch_norm = "frozen_eval"
    parameters = (
        Parameter(
            "probe_epochs",
            "int",
            2,
            "E1, the epochs of the classifier alone, out of the trial's",
            low=0,
            search=IntRange.model_validate({"int": (1, 5)}),
        ),
        Parameter(
            "probe_rate",
            "float",
            1.0,
            "the learning rate while probing in units of training.learning_rate, which is that "
            "of the tuning; 1e4 in the automatic paper (0.1 over 1e-5)",
            low=0.0,
            high=float("inf"),
            open_ends=True,
            search=FloatRange.model_validate({"float": (1.0, 1e4), "log": True}),
        ),
    )
    # no learning rate: the published 1e-5 goes with a probe_rate of 1e4, not with 1
    published = TrainingOverride(weight_decay=0.0, epochs=5)
    cost = Cost(during="while probing a forward pass and the head's own backward")

    def _probing(self, epoch: int) -> bool:
        return epoch <= int(self.values["probe_epochs"])

    def active(self, epoch: int, epochs: int) -> list[int]:
        """The classifier's layer while probing, then every layer."""
        return [self.partition.head_layer] if self._probing(epoch) else self.trainable()

    def active_parameters(self, epoch: int, epochs: int) -> frozenset[str]:
        """The classifier while probing, as in `linear_probe`; then every parameter."""
        if self._probing(epoch):
            return classifier_parameters(self.partition)
        return self.trainable_parameters()

    def rates(self, epoch: int, epochs: int) -> Tensor:
        """The probe's rate while probing, then 1."""
        return torch.full(
            (len(self.partition),), self.values["probe_rate"] if self._probing(epoch) else 1.0
        )
