"""Relative gradient norm and its three extensions: the learning rate of a layer follows how
far its gradient would carry it, relative to its own length.

Lee et al. (Auto-RGN) and Agarwala, Suleman and Vaidya, "Automatic Fine-Tuning", section 4.2.
With the parameters theta_l of layer l, the gradient g of the mean loss and its Hessian H on a
sample of the target or the source:

    auto_rgn                 ||g_l^tgt|| / ||theta_l||
    auto_rgn_hessian         ||(H^-1 g)_l^tgt|| / ||theta_l||
    auto_rgn_change          ||g_l^tgt - g_l^src|| / ||theta_l||
    auto_rgn_hessian_change  ||(H^-1 g)_l^tgt - (H^-1 g)_l^src|| / ||theta_l||   (Algorithm 1)

The weights are the scores over their maximum (rates.py); the updates themselves are ordinary
steps along the plain gradient. H is that of the whole model, sliced by layer afterwards
(D14, newton.py). A layer of length 0 has no score and moves freely (D13). D numbers are
sections of docs/algorithms.md.

`auto_rgn` alone can take the mean of the batches' norms, as its authors' release does; the
extensions need the norm of one mean vector. Who compares them sets `aggregate: norm_of_mean`
(D36), since the mean of norms grows with the gradient's noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raysel.common.deferred_torch import Tensor, torch
from raysel.models.partition_types import Partition
from raysel.spec.sweep import Choice, TrainingOverride
from raysel.strategies.base import Batch, Cost, Need, Parameter, Probe
from raysel.strategies.gradients import (
    finite_gradients,
    flat,
    layer_norms,
    mean_gradient,
    ordered_parameters,
    sample_loss,
)
from raysel.strategies.newton import curvature_pairs, inverse_hessian_product
from raysel.strategies.rates import NORMALISE, REFRESH_EACH_EPOCH, LayerRates
from raysel.strategies.registry import register

_LEE = "Lee et al., Surgical Fine-Tuning Improves Adaptation to Distribution Shifts, Auto-RGN"
_AUTOMATIC = "Agarwala, Suleman and Vaidya, Automatic Fine-Tuning, section 4.2"
_ZERO = 1e-12

BATCHES = Parameter(
    "batches",
    "int",
    5,
    "how many training batches the score is measured on",
    low=1,
    search=Choice.model_validate({"categorical": (1, 5, 20)}),
)

_AGGREGATE = Parameter(
    "aggregate",
    "choice",
    "mean_of_norms",
    "mean of the batches' gradient norms (as the release does) or norm of their mean gradient "
    "(as the other variants do)",
    options=("mean_of_norms", "norm_of_mean"),
)

_HEAD = Parameter(
    "head_in_normalisation",
    "bool",
    True,
    "whether a head that was newly initialised is weighted like every layer; if not, it gets "
    "weight 1 and the others are normalised among themselves",
)

_BY_LAYER = (
    "the release weighs tensors, leaves norms out, makes a new Adam at each refresh; here layers "
    "are weighed whole, the optimizer stays (D12). By tensor, or before every step, is not offered"
)
_QUASI_NEWTON = (
    "not the Newton step: a few L-BFGS pairs precondition the gradient. At its source minimum a "
    "small network's exact weights were .01, .03, 1 and .36, these 1, .86, .60 and .28 (D15)"
)

_REFRESH_ONCE = replace(REFRESH_EACH_EPOCH, default="once")

_HISTORY = Parameter(
    "history",
    "int",
    10,
    "K, L-BFGS iterations and at most as many curvature pairs",
    low=1,
    search=Choice.model_validate({"categorical": (5, 10, 20)}),
)

_SOURCE: frozenset[Need] = frozenset({"source_inputs", "source_labels"})


# --- the equation ------------------------------------------------------------------------------


def relative_norm(lengths: Tensor, parameter_norms: Tensor, sizes: Tensor) -> Tensor:
    """lengths / ||theta_l||; NaN where ||theta_l|| <= 1e-12 sqrt(n_l) (D13).

    Args:
        lengths: [L] lengths of a gradient's or a step's slices.
        parameter_norms: [L] lengths of the layers' parameters.
        sizes: [L] n_l, how many scalars each layer has.

    Returns:
        [L] float64.
    """
    lengths, parameter_norms = lengths.double(), parameter_norms.double()
    defined = parameter_norms > _ZERO * sizes.double().sqrt()
    return torch.where(defined, lengths / parameter_norms, torch.nan)


def head_layers(partition: Partition) -> Tensor:
    """[L] bool: layers that hold a part of the classifier."""
    head = set(partition.head)
    return torch.tensor([bool(head & set(layer.parameters)) for layer in partition.layers])


# --- the strategies ----------------------------------------------------------------------------


class _RelativeNorm(LayerRates):
    """The length of a direction on the target, relative to the layer's own."""

    published = TrainingOverride(optimizer="adam", learning_rate=1e-5, weight_decay=1e-4)

    def scores(self, probe: Probe) -> Tensor:
        """[L] float64; those of the last measurement where no batch gives finite numbers."""
        lengths = self._lengths(probe)
        if lengths is None:
            return self._undefined() if self._scores is None else self._scores
        with probe.model() as model:
            norms = layer_norms(flat(ordered_parameters(model, self.partition)), self.partition)
        sizes = torch.tensor([layer.size for layer in self.partition.layers])
        score = relative_norm(lengths.cpu(), norms.cpu(), sizes)
        return torch.where(self._without_score(probe), torch.nan, score)

    def _undefined(self) -> Tensor:
        return torch.full((len(self.partition),), torch.nan, dtype=torch.float64)

    def _lengths(self, probe: Probe) -> Tensor | None:
        """[L] numerators; None where no batch is finite."""
        direction = self._direction(probe, probe.batches("target", self.values["batches"]))
        return None if direction is None else layer_norms(direction, self.partition)

    def _direction(self, probe: Probe, batches: Sequence[Batch]) -> Tensor | None:
        """[P] the mean gradient over the batches' examples."""
        with probe.model() as model:
            mean = mean_gradient(model, self.partition, batches)
        return None if mean is None else mean.vector

    def _without_score(self, probe: Probe) -> Tensor:
        """[L] bool: a fresh head that shall not be compared with the other layers."""
        aside = probe.fresh_head and not self.values["head_in_normalisation"]
        return head_layers(self.partition) & aside


class _NewtonDirection(_RelativeNorm):
    """A quasi-Newton step in the gradient's place."""

    def _direction(self, probe: Probe, batches: Sequence[Batch]) -> Tensor | None:
        """[P] H^-1 g, both of one sample; the pairs are gathered on a copy that moves away."""
        with probe.model() as model:
            mean = mean_gradient(model, self.partition, batches)
            if mean is None:
                return None
            pairs = curvature_pairs(
                ordered_parameters(model, self.partition),
                lambda: sample_loss(model, self.partition, mean.batches),
                self.values["history"],
            )
        return inverse_hessian_product(mean.vector, *pairs)


class _Change(_RelativeNorm):
    """The difference between the target's direction and the source's, each over as many
    batches. A difference of means carries the noise of both: without any shift it is not 0."""

    needs = _SOURCE

    def _lengths(self, probe: Probe) -> Tensor | None:
        count = self.values["batches"]
        target = self._direction(probe, probe.batches("target", count))
        source = self._direction(probe, probe.batches("source", count))
        if target is None or source is None:
            return None
        return layer_norms(target - source, self.partition)

    def _without_score(self, probe: Probe) -> Tensor:
        """A fresh head has learnt nothing of the source: no change to speak of (D16)."""
        return head_layers(self.partition) & probe.fresh_head


@register
class AutoRGN(_RelativeNorm):
    """Relative gradient norm."""

    name = "auto_rgn"
    summary = "layers whose gradient is large relative to their weights get a higher learning rate"
    paper = _LEE
    differs = _BY_LAYER
    parameters = (BATCHES, _AGGREGATE, NORMALISE, REFRESH_EACH_EPOCH, _HEAD)
    cost = Cost(before="forward and backward over `batches` batches, before every epoch")

    def _lengths(self, probe: Probe) -> Tensor | None:
        if self.values["aggregate"] == "norm_of_mean":
            return super()._lengths(probe)
        batches = probe.batches("target", self.values["batches"])
        with probe.model() as model:
            norms = [
                layer_norms(gradient, self.partition)
                for _, gradient in finite_gradients(model, self.partition, batches)
            ]
        return torch.stack(norms).mean(dim=0) if norms else None


@register
class AutoRGNHessian(_NewtonDirection):
    """Relative norm of a quasi-Newton step."""

    name = "auto_rgn_hessian"
    summary = "auto_rgn with a quasi-Newton step (L-BFGS) in the gradient's place"
    paper = f"{_AUTOMATIC}, Auto-RGN+Hessian"
    differs = _QUASI_NEWTON
    parameters = (BATCHES, _HISTORY, NORMALISE, _REFRESH_ONCE, _HEAD)
    cost = Cost(
        before="about 1.3 to 2 K forward and backward passes over `batches` batches, once",
        memory="2 K copies of the parameters while it measures",
    )


@register
class AutoRGNChange(_Change):
    """Relative norm of the gradient's change from source to target."""

    name = "auto_rgn_change"
    summary = "layers whose gradient differs most between source and target get a higher rate"
    paper = f"{_AUTOMATIC}, Auto-RGN+Change"
    parameters = (BATCHES, NORMALISE, REFRESH_EACH_EPOCH)
    cost = Cost(
        before="forward and backward over `batches` batches of target and of source, before "
        "every epoch"
    )


@register
class AutoRGNHessianChange(_NewtonDirection, _Change):
    """Relative norm of the quasi-Newton step's change from source to target."""

    name = "auto_rgn_hessian_change"
    summary = "auto_rgn_change with a quasi-Newton step (L-BFGS) in the gradient's place"
    paper = f"{_AUTOMATIC}, Algorithm 1"
    differs = _QUASI_NEWTON
    parameters = (BATCHES, _HISTORY, NORMALISE, _REFRESH_ONCE)
    cost = Cost(
        before="about 1.3 to 2 K forward and backward passes over `batches` batches of target "
        "and of source, once",
        memory="2 K copies of the parameters while it measures",
    )
