"""Signal-to-noise ratio of the gradient: layers whose examples disagree are frozen.

Lee et al., "Surgical Fine-Tuning", Auto-SNR, as docs/algorithms.md D29. With the
gradients g_ij of example j = 1..B of a batch with respect to parameter i of layer l:

    SNR_l = mean over i in l of  (mean_j g_ij)^2 / var_j g_ij          (unbiased variance)

averaged over the batches, divided by the largest layer's; layers below a threshold are frozen
for the epoch, all others move at the full rate. The authors' release computes something else
(the variance over a weight's output channels), which is above its threshold for nearly every
layer; it is not imitated.

The score shown is B SNR: for gradients that are noise alone it is (B - 1) / (B - 3) whatever
the batch size (infinite in the mean for B <= 3), so what is near 1 is noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from raysel.common.deferred_torch import Tensor, nn, torch
from raysel.common.errors import user_error
from raysel.models.partition_types import Partition
from raysel.spec.sweep import FloatRange, TrainingOverride
from raysel.strategies.base import Batch, Cost, Parameter, Probe
from raysel.strategies.gradient_norm import BATCHES
from raysel.strategies.gradients import example_gradients
from raysel.strategies.rates import REFRESH_EACH_EPOCH, LayerRates
from raysel.strategies.registry import register

_NO_SPREAD = 1e-12


class GradientSpread(NamedTuple):
    """Mean and unbiased variance of the per-example gradients, each [P] float64."""

    mean: Tensor
    variance: Tensor


# --- the equations -----------------------------------------------------------------------------


def per_example_spread(model: nn.Module, partition: Partition, batch: Batch) -> GradientSpread:
    """Sums and sums of squares over the batch's examples, one backward pass each.

    One example at a time needs two vectors of memory, works for every model in eval mode,
    and on a CPU is at most about four times as slow as `torch.func.vmap` with its B vectors.
    Gradients are float32: their sums in float64 lose nothing that the ratio could show.
    """
    count = len(batch.labels)
    total = torch.zeros(partition.size, dtype=torch.float64, device=batch.labels.device)
    squares = torch.zeros_like(total)
    for gradient in example_gradients(model, partition, batch):
        total += gradient
        squares.addcmul_(gradient, gradient)
    mean = total / count
    variance = squares.addcmul_(mean, mean, value=-count).clamp_(min=0.0) / (count - 1)
    return GradientSpread(mean, variance)


def signal_to_noise(spread: GradientSpread, partition: Partition) -> Tensor:
    """SNR_l, the mean over a layer's parameters of mean^2 / variance; [L] float64.

    0 where a parameter has no gradient at all. Where it has a mean but no spread (a
    variance below 1e-12 of the mean's square), the ratio counts as the largest finite one
    of the batch, or 1 if there is none.
    """
    signal = spread.mean.square()
    unbounded = (spread.variance <= _NO_SPREAD * signal) & (signal > 0)
    ratio = torch.where(unbounded | (signal == 0), 0.0, signal / spread.variance)
    cap = ratio.max()
    ratio = torch.where(unbounded, torch.where(cap > 0, cap, 1.0), ratio)
    return torch.stack([part.mean() for part in ratio.split([x.size for x in partition.layers])])


def above_threshold(weights: Tensor, threshold: float) -> Tensor:
    """1 for every layer at or above the threshold, 0 below; the largest one if all are below.

    Args:
        weights: [L] scores over their maximum.

    Returns:
        [L] float32.
    """
    kept = weights >= min(threshold, float(weights.max()))
    return kept.to(torch.float32)


# --- the strategy ------------------------------------------------------------------------------


@register
class AutoSNR(LayerRates):
    """Layers with a clear gradient move at the full rate, the others are frozen."""

    name = "auto_snr"
    summary = "layers whose gradient is mostly noise across examples are frozen, epoch by epoch"
    paper = "Lee et al., Surgical Fine-Tuning Improves Adaptation to Distribution Shifts, Auto-SNR"
    parameters = (
        BATCHES,
        Parameter(
            "threshold",
            "float",
            0.5,
            "layers below this share of the largest ratio are frozen; the paper tunes it",
            low=0.0,
            high=1.0,
            search=FloatRange.model_validate({"float": (0.05, 0.95)}),
        ),
        REFRESH_EACH_EPOCH,
    )
    differs = (
        "the paper tunes the threshold: search it. At 0.5 nothing is frozen where gradients are "
        "mostly noise, since all layers then score about alike (D29)"
    )
    published = TrainingOverride(optimizer="adam", learning_rate=1e-5, weight_decay=1e-4)
    cost = Cost(
        before="a forward and backward pass for every single example of `batches` batches, "
        "before every epoch",
        memory="about six copies of the parameters while it measures",
    )

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        self.values["normalise"] = "max"  # a threshold needs a scale (D29)

    def scores(self, probe: Probe) -> Tensor:
        """B SNR_l averaged over the batches, [L] float64; those of the last measurement where
        no batch gives finite numbers.

        Raises:
            UserError: no batch has two examples.
        """
        batches = [b for b in probe.batches("target", self.values["batches"]) if len(b.labels) > 1]
        if not batches:
            message = "auto_snr compares the examples of a batch: give at least 2"
            raise user_error("training.batch_size", message)
        with probe.model() as model:
            measured = [self._of_batch(model, batch) for batch in batches]
        finite = [score for score in measured if bool(torch.isfinite(score).all())]
        if finite:
            return torch.stack(finite).mean(dim=0)
        return measured[0] if self._scores is None else self._scores

    def _of_batch(self, model: nn.Module, batch: Batch) -> Tensor:
        spread = per_example_spread(model, self.partition, batch)
        return len(batch.labels) * signal_to_noise(spread, self.partition)

    def _measure(self, probe: Probe) -> None:
        super()._measure(probe)
        self._weights = above_threshold(self._weights, self.values["threshold"])
