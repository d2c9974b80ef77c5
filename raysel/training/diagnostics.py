"""Diagnostics of every layer that the papers plot, for any strategy (`trace.diagnostics`).

- `bias_variance_ratio`: r_l of the BVG-LS paper (its Fig. 6 shows it under full fine-tuning
  too), debiased, at the paper's decay 0.9; the mean over the epoch's steps.
- `relative_gradient_norm`: ||g_l|| / ||theta_l|| of the surgical papers, before the update;
  the mean over the epoch's steps.
- `parameter_change`: ||theta_l - theta_l(0)|| / ||theta_l(0)|| at the epoch's end.

Each is taken over those tensors of a layer that may move, the first two over the steps at which
they got a gradient. Which layers moved, and how much,
is in `select/<layer>` anyway. A step is measured on the device and read at the epoch's end;
the trial is bit-identical with and without diagnostics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from raysel.models.norms import squared_norms
from raysel.spec.sweep import Diagnostic
from raysel.strategies.base import Step
from raysel.strategies.bias_variance import GradientMoments

EMA_DECAY = 0.9
"""Of the recorded bias-variance ratio: the paper's."""


class Diagnostics:
    """Measures a trial's layers.

    Args:
        wanted: what to measure.
        layers: names of the L layers.
        parameters: the T tensors that may move, with their values before training.
        layer_of: the layer of each tensor.
    """

    def __init__(
        self,
        wanted: Sequence[Diagnostic],
        layers: Sequence[str],
        parameters: Sequence[Tensor],
        layer_of: Sequence[int],
    ) -> None:
        self._wanted = frozenset(wanted)
        self._layers, self._parameters = list(layers), list(parameters)
        self._device = parameters[0].device
        self._layer_of = torch.tensor(layer_of, device=self._device)
        self._moving = set(layer_of)
        self._moments = GradientMoments(EMA_DECAY, debiased=True)
        self._ratio, self._gradient = self._mean(), self._mean()
        self._start: list[Tensor] = []
        if "parameter_change" in self._wanted:
            self._start = [p.detach().clone() for p in self._parameters]

    def _mean(self) -> _MeanOfFinite:
        return _MeanOfFinite(len(self._layers), self._device)

    @torch.no_grad()
    def step(self, step: Step) -> None:
        """Measure a step before the parameters move, without a synchronisation."""
        if "bias_variance_ratio" in self._wanted:
            ratio, _, _ = self._moments.advance(step)
            self._ratio.add(_of_gradients(ratio, step), step.finite)
        if "relative_gradient_norm" in self._wanted:
            sizes = step.by_layer(squared_norms(step.parameters, step.device))
            norm = (step.by_layer(step.squared_norms) / sizes).sqrt()
            self._gradient.add(_of_gradients(norm, step), step.finite)

    @torch.no_grad()
    def end_epoch(self) -> dict[str, float]:
        """`ratio/<layer>`, `rgn/<layer>` and `change/<layer>` of the epoch that ends; layers
        without a finite value, or without a tensor that may move, are left out."""
        metrics = self._named("ratio", self._ratio.read())
        metrics |= self._named("rgn", self._gradient.read())
        if self._start:
            metrics |= self._named("change", self._change())
        self._ratio, self._gradient = self._mean(), self._mean()
        return metrics

    def _change(self) -> list[float]:
        differences = [p - start for p, start in zip(self._parameters, self._start, strict=True)]
        change = self._by_layer(differences) / self._by_layer(self._start)
        return [float(value) for value in change.sqrt().cpu()]

    def _by_layer(self, tensors: Sequence[Tensor]) -> Tensor:
        total = torch.zeros(len(self._layers), dtype=torch.float64, device=self._device)
        return total.index_add_(0, self._layer_of, squared_norms(tensors, self._device))

    def _named(self, prefix: str, values: Sequence[float]) -> dict[str, float]:
        return {
            f"{prefix}/{self._layers[i]}": values[i]
            for i in sorted(self._moving)
            if math.isfinite(values[i])
        }

    def state_dict(self) -> dict[str, Any]:
        """The state between epochs. The start values do not belong to it: a resumed trial is
        made from the same ones."""
        return {"moments": self._moments.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._moments.load_state_dict(state["moments"])


def _of_gradients(values: Tensor, step: Step) -> Tensor:
    """[L] values, NaN for the layers that got no gradient at this step."""
    if step.has_gradient is None:
        return values
    return torch.where(step.layers_with(step.has_gradient), values, torch.nan)


class _MeanOfFinite:
    """The mean of [L] values over steps, those that are not finite left out."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._sum = torch.zeros(count, dtype=torch.float64, device=device)
        self._count = torch.zeros(count, dtype=torch.float64, device=device)

    def add(self, values: Tensor, finite: Tensor | None) -> None:
        """`finite`: 0-dim bool on the device, or None where the host knows that it is."""
        counted = torch.isfinite(values)
        if finite is not None:
            counted = counted & finite
        self._sum += torch.where(counted, values, 0.0)
        self._count += counted

    def read(self) -> list[float]:
        """[L]; NaN where no value was finite."""
        return [float(value) for value in (self._sum / self._count).cpu()]
