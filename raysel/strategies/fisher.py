"""Fisher information of the target before training: which layers its examples ask to move.

The diagonal of the empirical Fisher information, as Sung, Nair and Raffel ("Training Neural
Networks with Fixed Sparse Masks", FISH mask, eq. 2 and 3) estimate it for single parameters; here
in the mean over a layer's. With the gradient g_ij of example j = 1..N with respect to parameter i:

    F_l = 1/n_l  sum over i in l of  1/N sum_j g_ij^2

The labels are the data's own. The share of the layers with the largest F_l moves, or every layer
at a rate in proportion to it. A classifier that was newly initialised says nothing of the model:
it always moves at the full rate, and is not compared (docs/algorithms.md, D46).
"""

from __future__ import annotations

from typing import Any

from raysel.common.deferred_torch import Tensor, nn, torch
from raysel.models.partition_types import Partition
from raysel.spec.sweep import FloatRange
from raysel.strategies.base import Batch, Cost, Parameter, Probe
from raysel.strategies.gradient_norm import BATCHES, head_layers
from raysel.strategies.gradients import example_gradients
from raysel.strategies.rates import LayerRates
from raysel.strategies.registry import register


def squared_gradients(model: nn.Module, partition: Partition, batch: Batch) -> Tensor:
    """The sum over a batch's examples of each layer's mean squared gradient, [L] float64; one
    backward pass an example."""
    sizes = [layer.size for layer in partition.layers]
    total = torch.zeros(len(sizes), dtype=torch.float64, device=batch.labels.device)
    for gradient in example_gradients(model, partition, batch):
        parts = gradient.square().split(sizes)
        total += torch.stack([part.mean() for part in parts])
    return total


def top_share(scores: Tensor, share: float) -> Tensor:
    """1 for the share of the layers with the largest scores, at least one; 1 where the score is
    undefined (NaN), 0 elsewhere. [L] float32; of equal ones the lower layer."""
    undefined = torch.isnan(scores)
    ranked = torch.where(undefined, -torch.inf, scores)
    count = max(1, round(share * int((~undefined).sum())))
    order = torch.sort(ranked, descending=True, stable=True).indices
    chosen = torch.zeros(len(scores), dtype=torch.float32)
    chosen[order[:count]] = 1.0
    return torch.where(undefined, 1.0, chosen)


@register
class FisherLayers(LayerRates):
    """The layers with the largest Fisher information of the target move."""

    name = "fisher_layers"
    summary = "the layers with the largest Fisher information of the target move, or by rates"
    paper = "Sung, Nair and Raffel, Training Neural Networks with Fixed Sparse Masks, eq. 2 and 3"
    parameters = (
        BATCHES,
        Parameter(
            "use",
            "choice",
            "top_share",
            "the layers with the largest information move alone, or all at rates in proportion",
            options=("top_share", "rates"),
        ),
        Parameter(
            "share",
            "float",
            0.5,
            "which share of the layers moves (with use: top_share)",
            low=0.0,
            high=1.0,
            search=FloatRange.model_validate({"float": (0.1, 1.0)}),
        ),
    )
    cost = Cost(
        before="a forward and backward pass for every single example of `batches` batches, once",
        memory="three copies of the parameters while it measures",
    )

    def __init__(self, partition: Partition, values: dict[str, Any]) -> None:
        super().__init__(partition, values)
        self.values["normalise"] = "max"

    def scores(self, probe: Probe) -> Tensor:
        """F_l, [L] float64; 0 for all where no batch gives finite numbers."""
        batches = probe.batches("target", self.values["batches"])
        with probe.model() as model:
            sums = [(squared_gradients(model, self.partition, b), len(b.labels)) for b in batches]
        finite = [(total, count) for total, count in sums if bool(torch.isfinite(total).all())]
        count = sum(count for _, count in finite)
        measured = torch.zeros(len(self.partition), dtype=torch.float64)
        if count:
            measured = torch.stack([total for total, _ in finite]).sum(dim=0).cpu() / count
        aside = head_layers(self.partition) & probe.fresh_head
        return torch.where(aside, torch.nan, measured)

    def _measure(self, probe: Probe) -> None:
        super()._measure(probe)
        if self.values["use"] == "top_share" and self._scores is not None:
            self._weights = top_share(self._scores, self.values["share"])
