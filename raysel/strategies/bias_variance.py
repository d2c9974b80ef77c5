"""Bias-variance guided layer selection: move the layer whose gradient is signal, not noise.

Tomita et al., "Bias-Variance Guided Layer Selection for Fine-Tuning", Algorithm 1. With the
gradient g_l of layer l at step t and the decay alpha:

    b_l <- alpha b_l + (1 - alpha) g_l            (mean)
    v_l <- alpha v_l + (1 - alpha) g_l^2          (second moment)
    r_l  = sum_i b_{l,i}^2 / sum_i (v_{l,i} - b_{l,i}^2)
    update only theta_{l*}, l* = argmax_l r_l     (or every l with r_l > tau: Table 5)

D numbers are sections of docs/algorithms.md.

Both means advance for every layer, moved or not, and the current gradient takes part in its
own selection. Only the sum of v_l is ever needed, so it is one number a tensor; b_l itself
is not stored where the optimizer's momentum buffer already is b_l / (1 - alpha).

The paper starts with b = 0, v = 1; its authors' code with zeros and Adam's correction
(`debiased`). Under the paper's start the ratio is ruled by the start value for the first
hundreds of steps, which `Decision.transient` reports.

Without moving averages (alpha = 0) b = g and v = g^2, so r is 0/0 for every layer: a single
batch has no variance, and the paper defines no ratio for it. The ablation is the limit, a
small alpha such as 0.01: r -> |g_t|^2 / (alpha |g_t - g_{t-1}|^2), the variance of the last
two batches alone.

`bvg_ts` is the authors' successor: the same ratio for every tensor, and the better half moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raysel.common import fused
from raysel.common.deferred_torch import Tensor, torch
from raysel.models.norms import squared_norms
from raysel.models.partition_types import Partition
from raysel.spec.sweep import FloatRange
from raysel.strategies.base import Cost, Decision, Parameter, Step, Strategy, TrainingOverride
from raysel.strategies.registry import register

_PAPER = "Tomita et al., Bias-Variance Guided Layer Selection, Algorithm 1"
_NOISE_GUARD = 1e-6  # above the sums' own rounding (models/norms.py)

_EMA_DECAY = Parameter(
    "ema_decay",
    "float",
    0.9,
    "alpha, the decay of both moving averages",
    low=0.0,
    high=1.0,
    open_ends=True,
    search=FloatRange.model_validate({"float": (0.5, 0.99)}),
)


def ema_init(default: str) -> Parameter:
    """The parameter that says how the averages start."""
    return Parameter(
        "ema_init",
        "choice",
        default,
        "start of the averages: b = 0, v = 1 (paper), or zeros with Adam's correction (debiased)",
        options=("paper", "debiased"),
    )


# --- the equations -----------------------------------------------------------------------------


def bias_variance_ratio(b_sq: Tensor, v_sum: Tensor) -> Tensor:
    """r = sum b^2 / (sum v - sum b^2), of [L] float64 sums.

    Infinite where the variance is below the rounding of the two sums (D9);
    0 for a layer without any gradient, and where a sum is not finite.
    """
    variance = v_sum - b_sq
    ratio = torch.where(variance <= _NOISE_GUARD * v_sum, torch.inf, b_sq / variance)
    finite = (b_sq + v_sum < torch.inf) & (b_sq > 0)
    return torch.where(finite, ratio, 0.0)


def argmax_rule(ratio: Tensor, b_sq: Tensor, count: int = 1) -> Tensor:
    """1 for the `count` layers with the largest ratio, 0 elsewhere; [L] float32.

    Infinite ratios are ranked by the norm of b, ties go to the lower layer (D9). A layer of
    ratio 0 is never chosen, so that a step without signal moves nothing.
    """
    unbounded = torch.isinf(ratio)
    order = torch.sort(torch.where(unbounded, b_sq, ratio), descending=True, stable=True).indices
    order = order[torch.sort(unbounded[order].int(), descending=True, stable=True).indices]
    chosen = torch.zeros_like(ratio, dtype=torch.float32)
    chosen.scatter_(0, order[:count], 1.0)
    return chosen * (ratio > 0)


def tensor_count(update_share: float, tensors: int) -> int:
    """How many of T tensors move: max(1, int(share T))."""
    return max(1, int(update_share * tensors))


def threshold_rule(ratio: Tensor, threshold: float) -> Tensor:
    """1 for every layer with a ratio above the threshold, 0 elsewhere; [L] float32."""
    return (ratio > threshold).to(torch.float32)


def default_threshold(ema_decay: float) -> float:
    """The paper's 0.056 at alpha = 0.9; elsewhere 0.8 % above the noise floor (1-a)/(2a).

    For gradients that are noise alone, r is (1-a)/(2a) in the mean, 0.0556 at 0.9: the
    published value is just above it (D33).
    """
    return 0.056 if ema_decay == 0.9 else 1.008 * (1 - ema_decay) / (2 * ema_decay)


# --- the statistics ----------------------------------------------------------------------------


class GradientMoments:
    """The moving averages b and sum(v) of every tensor, and the ratio of every layer.

    Args:
        decay: alpha.
        debiased: start at zero, with Adam's correction.
        own_clock: each layer's start value fades with the layer's own gradients and not with
            the trial's steps (D44).
    """

    def __init__(self, decay: float, debiased: bool, own_clock: bool = False) -> None:
        self.decay = decay
        self.debiased = debiased
        self._own_clock = own_clock
        self._mean: list[Tensor] | None = None  # T tensors b; None while momentum serves
        self._second: Tensor | None = None  # [T] float64, sum of v
        self._steps: Tensor | None = None  # 0-dim float64, finite steps so far
        self._sizes: Tensor | None = None  # [T] float64, numbers in each tensor
        self._seen: Tensor | None = None  # [L] float64, finite steps with a gradient

    def advance(self, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Take in a step's gradients.

        Returns:
            ratio [L], sum of b^2 [L] (uncorrected), and the part of sum(v) that is still
            the start value [L]; all float64.
        """
        self._start(step)
        assert self._second is not None and self._steps is not None and self._seen is not None
        assert self._sizes is not None
        has_gradient = step.has_gradient
        moved = self._second * self.decay + step.squared_norms * (1.0 - self.decay)
        self._second = _where(_both(has_gradient, step.finite), moved, self._second)
        finite = 1.0 if step.finite is None else step.finite
        self._steps = self._steps + finite
        self._seen = self._seen + (
            finite if has_gradient is None else finite * step.layers_with(has_gradient)
        )
        sums = torch.stack([self._mean_squares(step), self._second, self._sizes])
        b_sq, v_sum, sizes = step.by_layer(_where(has_gradient, sums, 0.0)).unbind()
        remainder = self.decay ** (self._seen if self._own_clock else self._steps)
        if self.debiased:
            correction = 1.0 - remainder
            ratio = bias_variance_ratio(b_sq / correction.square(), v_sum / correction)
            first = (self._seen <= 1) & (ratio > 0)  # b^2 = v exactly: variance 0 (D9)
            return torch.where(first, torch.inf, ratio), b_sq, torch.zeros_like(ratio)
        return bias_variance_ratio(b_sq, v_sum), b_sq, sizes * remainder / v_sum

    def _start(self, step: Step) -> None:
        """The averages' start values, on the first step."""
        if self._sizes is None:  # made once: a copy to the device would wait for the host
            sizes = [float(p.numel()) for p in step.parameters]
            self._sizes = torch.tensor(sizes, dtype=torch.float64, device=step.device)
        if self._second is not None:
            self._to_device(step)
            return
        self._second = torch.zeros_like(self._sizes) if self.debiased else self._sizes
        self._steps = torch.zeros((), dtype=torch.float64, device=step.device)
        self._seen = torch.zeros(step.layer_count, dtype=torch.float64, device=step.device)
        if not self._served_by_momentum(step):
            self._mean = [torch.zeros_like(p) for p in step.parameters]

    def _to_device(self, step: Step) -> None:
        """Go to where the gradients are, in their layout: a checkpoint is read on the CPU."""
        device = step.device
        assert self._second is not None and self._steps is not None and self._seen is not None
        if self._second.device == device:
            return
        self._second, self._steps = self._second.to(device), self._steps.to(device)
        self._seen = self._seen.to(device)
        if self._mean is not None:
            pairs = zip(step.parameters, self._mean, strict=True)
            self._mean = [torch.empty_like(p).copy_(mean) for p, mean in pairs]

    def _served_by_momentum(self, step: Step) -> bool:
        return step.momentum_buffers is not None and step.momentum == self.decay

    def _mean_squares(self, step: Step) -> Tensor:
        """Sum of b^2 of each tensor with a gradient, [T]; 0 of the others."""
        if self._mean is None:
            # buf_t = mu buf + g is b_t / (1 - alpha) for mu = alpha (D42)
            buffers = _given(step.momentum_buffers or [], step.gradients)
            return squared_norms(buffers, step.device) * (1 - self.decay) ** 2
        pairs = [(b, g) for b, g in zip(self._mean, step.gradients, strict=True) if g is not None]
        means, gradients = [b for b, _ in pairs], [g for _, g in pairs]
        if not pairs:
            return torch.zeros_like(step.squared_norms)
        if step.finite is None:
            torch._foreach_lerp_(means, gradients, 1.0 - self.decay)
        else:
            skip = (~step.finite).to(torch.float32)
            fused.lerp_(means, gradients, 1.0 - self.decay, skip)
        return squared_norms(_given(self._mean, step.gradients), step.device)

    def state_dict(self) -> dict[str, Any]:
        """The averages; empty before the first step."""
        if self._second is None:
            return {}
        return {
            "mean": self._mean,
            "second": self._second,
            "steps": self._steps,
            "seen": self._seen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._mean = state.get("mean")
        self._second = state.get("second")
        self._steps = state.get("steps")
        self._seen = state.get("seen")


def _given(tensors: list[Tensor], gradients: list[Tensor | None]) -> list[Tensor | None]:
    """The tensors of those that have a gradient."""
    return [t if g is not None else None for t, g in zip(tensors, gradients, strict=True)]


def _both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Where both hold; None is everywhere."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def _where(condition: Tensor | None, values: Tensor, others: Tensor | float) -> Tensor:
    """`torch.where` for a condition that may hold everywhere (None)."""
    return values if condition is None else torch.where(condition, values, others)


# --- the strategies ----------------------------------------------------------------------------


class _Guided(Strategy):
    """What the argmax and the threshold rule share: the statistics and their bookkeeping."""

    published = TrainingOverride(
        optimizer="sgd", learning_rate=0.01, momentum=0.9, batch_size=128, epochs=50
    )
    cost = Cost(
        during="about 7 operations a parameter",
        memory="a few numbers a tensor where ema_decay equals SGD's momentum without L2 decay, "
        "else one copy of the parameters",
    )

    def __init__(self, partition: Partition, values: Mapping[str, Any]) -> None:
        super().__init__(partition, values)
        self._moments = GradientMoments(
            self.values["ema_decay"], debiased=self.values["ema_init"] == "debiased"
        )

    def _rule(self, ratio: Tensor, b_sq: Tensor) -> Tensor:
        raise NotImplementedError

    def decide(self, step: Step) -> Decision:
        """Advance the averages with this step's gradients, then choose."""
        ratio, b_sq, start_share = self._moments.advance(step)
        weights = self._rule(ratio, b_sq)
        transient = (weights * (start_share > 0.5)).amax()  # the weights are 0 and 1
        return Decision(weights, ratio, transient)

    def state_dict(self) -> dict[str, Any]:
        """The moving averages."""
        return self._moments.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the moving averages."""
        self._moments.load_state_dict(state)


@register
class BiasVarianceGuided(_Guided):
    """The layer with the largest bias-variance ratio moves, one a step."""

    name = "bvg_ls"
    summary = "at each step the layer with the largest bias-variance ratio of its gradient moves"
    paper = _PAPER
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _EMA_DECAY,
        ema_init("paper"),
        Parameter("update_layers", "int", 1, "how many layers move at each step", low=1),
    )

    def _rule(self, ratio: Tensor, b_sq: Tensor) -> Tensor:
        return argmax_rule(ratio, b_sq, self.values["update_layers"])


@register
class BiasVarianceThreshold(_Guided):
    """Every layer whose ratio is above a threshold moves."""

    name = "bvg_ls_threshold"
    summary = "every layer whose bias-variance ratio is above a threshold moves"
    paper = f"{_PAPER} with the threshold of Table 5"
    parameters = (
        _EMA_DECAY,
        ema_init("debiased"),
        Parameter(
            "threshold",
            "float",
            None,
            "tau; without it 0.056 at ema_decay 0.9, else 1.008 (1 - a) / (2 a)",
            low=0.0,
            high=float("inf"),
            open_ends=True,
            optional=True,
            published=0.056,
            search=FloatRange.model_validate({"float": (0.028, 0.224), "log": True}),
        ),
    )

    def _rule(self, ratio: Tensor, b_sq: Tensor) -> Tensor:
        threshold = self.values["threshold"]
        if threshold is None:
            threshold = default_threshold(self.values["ema_decay"])
        return threshold_rule(ratio, threshold)


@register
class BiasVarianceTensors(_Guided):
    """The tensors with the largest bias-variance ratios move, a fixed share of them a step."""

    name = "bvg_ts"
    summary = "of all parameter tensors, the share with the largest bias-variance ratios moves"
    paper = f"{_PAPER}, by tensor: the authors' public successor BVG-TS"
    published = _Guided.published.model_copy(update={"learning_rate": 1e-3})
    parameters = (
        _EMA_DECAY,
        ema_init("debiased"),
        Parameter(
            "update_share",
            "float",
            0.5,
            "share of the tensors that move at each step; at least one does",
            low=0.0,
            high=1.0,
            search=FloatRange.model_validate({"float": (0.1, 0.9)}),
        ),
    )

    @classmethod
    def refine(cls, partition: Partition) -> Partition:
        """Every tensor a layer of its own."""
        return partition.by_tensor()

    def _rule(self, ratio: Tensor, b_sq: Tensor) -> Tensor:
        count = tensor_count(self.values["update_share"], len(self.partition))
        return argmax_rule(ratio, b_sq, count)
