"""Layer-wise decay of the learning rate: the lower a layer, the smaller its steps.

Clark et al. (ELECTRA, section 3.1 and appendix), Bao et al. (BEiT), He et al. (MAE): with L layers,

    w_l = d^(L - l),   l = 1 .. L

so that the classifier's layer moves at the full rate. With `model.partition: fine` these are the
rates of BEiT's and MAE's releases, and those of timm's `param_groups_layer_decay` but for the final
norm of a vision transformer, which timm counts to the last block and they to the classifier (D1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysel.models.partition_types import Partition
from raysel.strategies.base import (
    Cost,
    Decision,
    FloatRange,
    Parameter,
    Step,
    Strategy,
    TrainingOverride,
)
from raysel.strategies.registry import register
from raysel.strategies.schedules import discriminative_rates


@register
class LayerwiseDecay(Strategy):
    """Each layer's learning rate is a constant share of the next one's."""

    name = "llrd"
    summary = "each layer's learning rate is a constant share of the next layer's above it"
    paper = "Clark et al., ELECTRA, section 3.1; He et al., MAE, Table 9 (layer-wise lr decay)"
    batch_norm = "eval"
    parameters = (
        Parameter(
            "decay",
            "float",
            0.75,
            "d, a layer's learning rate over that of the next one; 1 is full fine-tuning",
            low=0.01,
            high=1.0,
            search=FloatRange.model_validate({"float": (0.3, 1.0)}),
        ),
    )
    published = TrainingOverride(
        optimizer="adamw", learning_rate=4e-3, weight_decay=0.05, batch_size=1024, epochs=100
    )
    cost = Cost()

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        rates = discriminative_rates(len(partition), 1 / self.values["decay"])
        self._decision = Decision(rates)

    def decide(self, step: Step) -> Decision:
        """The same weights at every step."""
        return self._decision
