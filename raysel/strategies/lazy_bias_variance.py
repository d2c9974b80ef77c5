"""Bias-variance guided layer selection without the gradients of layers that will not be chosen.

Tomita et al., "Bias-Variance Guided Layer Selection for Fine-Tuning", name it as future work: the
rule of `bvg_ls` computes the gradient of every layer and moves one. Here only step t with
(t - 1) mod k = 0, a refresh, computes them all. With r_l the ratio of Algorithm 1 and lead the
largest (with `update_layers` n, the n-th largest),

    near  = {l : r_l >= margin lead}              decided at the refresh, for k - 1 steps
    g_l   is computed for l in near alone, until the next refresh
    update only theta_{l*}, l* = argmax_{l in near} r_l

and the backward pass ends above the lowest layer of `near`. A layer that gets no gradient rests:
both averages and the optimizer's state stay as they are, and take in the next gradient as one step,
at weight 1 - alpha (D44). So b_l and v_l are over the last gradients that were computed, 1 / (1 -
alpha) of them whatever k is, and the ratio of a layer without signal is (1 - alpha) / (2 alpha) as
it is in `bvg_ls`.

With k = 1 or margin = 0 every step is a refresh, and the trial is that of `bvg_ls` bit for bit. At
margin = 1 only the leader itself gets a gradient between two refreshes.

The averages start debiased, unlike those of `bvg_ls`: the paper's start values fade with a layer's
own gradients here, so that the leader's fade first, its lead grows by itself, and one layer moves
for ever (12 % of picks were the exact rule's on EfficientNet-Lite0, whatever k and margin).

The set `near` must be known to the host before the backward pass: it is read from the device once
in k steps, before the step after a refresh. In the trace a layer without a gradient has no score;
`cost/lazy_share` is the share of an epoch's steps that left gradients out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raysel.common.deferred_torch import Tensor, torch
from raysel.models.partition_types import Partition
from raysel.spec.sweep import FloatRange, IntRange
from raysel.strategies.base import Cost, Decision, Parameter, Step
from raysel.strategies.bias_variance import BiasVarianceGuided, GradientMoments, ema_init
from raysel.strategies.registry import register

# --- the equations -------------------------------------------------------------------------------


def is_refresh(number: int, every: int) -> bool:
    """Whether step `number` (from 1) computes the gradients of all layers."""
    return (number - 1) % every == 0


def near_the_lead(ratio: Tensor, margin: float, count: int = 1) -> Tensor:
    """Which layers have at least `margin` of the `count`-th largest ratio; [L] bool.

    An infinite ratio is near none that is finite; where the lead is 0, all layers are near it.
    """
    lead = torch.topk(ratio, min(count, len(ratio))).values[-1]
    return ratio >= margin * lead


# --- the strategy --------------------------------------------------------------------------------


@register
class LazyBiasVarianceGuided(BiasVarianceGuided):
    """`bvg_ls` that computes the gradients of layers far below the lead every k steps alone."""

    name = "bvg_ls_lazy"
    summary = "bvg_ls that skips, at most steps, the gradients of layers far below the leading one"
    paper = f"{BiasVarianceGuided.paper}, and its future work (D44)"
    parameters = (
        *(p for p in BiasVarianceGuided.parameters if p.name != "ema_init"),
        ema_init("debiased"),
        Parameter(
            "refresh_every",
            "int",
            4,
            "k: every k-th step computes the gradients of all layers; 1 is bvg_ls",
            low=1,
            search=IntRange.model_validate({"int": (2, 16), "log": True}),
        ),
        Parameter(
            "margin",
            "float",
            0.9,
            "the share of the largest ratio from which on a layer gets a gradient at every step; "
            "0 is bvg_ls, 1 the leading layer alone",
            low=0.0,
            high=1.0,
            search=FloatRange.model_validate({"float": (0.7, 1.0)}),
        ),
    )
    cost = Cost(
        during="less than a step: most steps compute the gradients of a few layers, and their "
        "backward pass ends above the lowest of these; about 7 operations a parameter of theirs",
        memory=BiasVarianceGuided.cost.memory,
    )

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        self._every, self._margin = self.values["refresh_every"], self.values["margin"]
        self._lazy = self._every > 1 and self._margin > 0
        if self._lazy:
            debiased = self.values["ema_init"] == "debiased"
            self._moments = GradientMoments(self.values["ema_decay"], debiased, own_clock=True)
        self._near: Tensor | None = None  # [L] bool, of the last refresh
        self._known: list[int] | None = None  # the same on the host, once it was read

    def needs_gradients(self, number: int, seed: int) -> Sequence[int] | None:
        """All at a refresh, else those near the lead; the first call after a refresh reads them
        from the device."""
        if not self._lazy or is_refresh(number, self._every) or self._near is None:
            return None
        if self._known is None:
            self._known = [layer for layer, near in enumerate(self._near.tolist()) if near]
        return self._known if len(self._known) < len(self.partition) else None

    def decide(self, step: Step) -> Decision:
        """As `bvg_ls`, among the layers that have a gradient."""
        decision = super().decide(step)
        if not self._lazy:
            return decision
        ratio = decision.scores
        assert ratio is not None
        if is_refresh(step.number, self._every):
            self._find_near(ratio, step.finite)
        if step.has_gradient is None:
            return decision
        computed = step.layers_with(step.has_gradient)
        return replace(decision, scores=torch.where(computed, ratio, torch.nan))

    def _find_near(self, ratio: Tensor, finite: Tensor | None) -> None:
        near = near_the_lead(ratio, self._margin, self.values["update_layers"])
        if finite is not None and self._near is not None:
            near = torch.where(finite, near, self._near.to(near.device))
        self._near, self._known = near, None

    def state_dict(self) -> dict[str, Any]:
        """The moving averages, and which layers were near the lead at the last refresh."""
        return {**super().state_dict(), "near": self._near}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        super().load_state_dict(state)
        self._near, self._known = state.get("near"), None
