"""Module criticality: a layer learns as fast as the model's loss depends on it.

"Automatic fine-tuning strategies", section 4.4, Algorithms 3 and 4. One layer after the other
loses what it has learnt (its kernels become the identity delta, or are re-initialised), all
others keep theirs:

    I_V(f_l -> f) = L(f(theta_1, .., delta_l, .., theta_n), D) - L(f(theta_1, .., theta_n), D)

The K layers with the largest I learn with weight I_l / max I, the others not at all. On the
source D is the source data and f the pretrained model (Algorithm 3). On the target f is a
throw-away copy, fine-tuned for a few epochs, and D the target's training data: the text
moves both there, the listing of Algorithm 4 still prints D_src (D23; `criticality_data`).
The listings weigh by the loss itself; its increase, the equation, ranks alike (D22).

A stage as a whole cannot be the identity where channels or strides change, so identity takes
one convolution or linear module at a time and averages over the layer's (D24); random
re-initialises the whole layer. A layer without such a module scores 0 (D25). D numbers are
sections of docs/algorithms.md.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import mean
from typing import Any, ClassVar

from raysel.common.deferred_torch import Tensor, functional, nn, torch
from raysel.spec.sweep import SEARCH, Choice, IntRange
from raysel.strategies.ablation import (
    has_no_identity,
    make_identity,
    make_random,
    modules_of_layers,
    restored,
    shape_keeping_layers,
    skipped,
    weighted_modules,
)
from raysel.strategies.base import Cost, Domain, Need, Parameter, Probe, TrainingOverride
from raysel.strategies.outputs import sample
from raysel.strategies.rates import NORMALISE, LayerRates, weights_from_scores
from raysel.strategies.registry import register

_PAPER = "Automatic fine-tuning strategies, section 4.4"
_Examples = list[tuple[Tensor, Tensor]]
_SOURCE: frozenset[Need] = frozenset({"source_inputs", "source_labels"})


# --- the equations -----------------------------------------------------------------------------


def criticality(loss: float, ablated_losses: Tensor) -> Tensor:
    """I_l = L(f with layer l ablated) - L(f), 0 where the ablation did not hurt.

    Args:
        loss: L(f).
        ablated_losses: [L]; an infinite one or NaN counts as the largest finite one.

    Returns:
        [L] float64, finite, >= 0; all 0 where no ablated loss is finite.
    """
    losses = torch.as_tensor(ablated_losses, dtype=torch.float64)
    finite = losses[losses.isfinite()]
    largest = float(finite.max()) if len(finite) else loss
    return (torch.where(losses.isfinite(), losses, largest) - loss).clamp(min=0.0)


def top_k(scores: Tensor, k: int) -> Tensor:
    """The k largest of [L] scores, 0 for the others; ties go to the lower layer. NaN stays and
    does not count."""
    ranked = torch.where(scores.isnan(), -torch.inf, scores)
    chosen = torch.sort(ranked, descending=True, stable=True).indices[:k]
    kept = torch.zeros_like(scores)
    kept[chosen] = scores[chosen]
    return torch.where(scores.isnan(), scores, kept)


# --- the measurement ---------------------------------------------------------------------------


def mean_loss(model: nn.Module, examples: _Examples) -> float:
    """L(f, D): the mean cross-entropy over the examples, summed in float64."""
    total = torch.zeros((), dtype=torch.float64, device=examples[0][1].device)
    with torch.no_grad():
        for images, labels in examples:
            logits = model(images).double()
            total += functional.cross_entropy(logits, labels, reduction="sum")
    return float(total) / sum(len(labels) for _, labels in examples)


class _Criticality(LayerRates):
    """What the four variants share: which loss, and what becomes of its increases."""

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "layers",
            "int",
            None,
            "K, how many layers learn: those with the largest criticality; all without it",
            low=1,
            optional=True,
            search=IntRange.model_validate({"int": (1, 14)}),
        ),
        Parameter(
            "weighting",
            "choice",
            "proportional",
            "weigh the K layers by their criticality, or all alike (as the paper's Fig. 8 shows)",
            options=("proportional", "binary"),
            search=Choice(categorical=("proportional", "binary")),
        ),
        Parameter("examples", "int", 2048, "at most so many examples for each loss", low=1),
        NORMALISE,
    )
    published = TrainingOverride(optimizer="adam", learning_rate=1e-5, weight_decay=1e-4)

    @abstractmethod
    def _ablated_losses(
        self, model: nn.Module, examples: _Examples, seed: int
    ) -> list[list[float]]:
        """For each layer the losses of the model with (parts of) it ablated, one an ablation."""

    def _domain(self) -> Domain:
        return "source"

    def _copy(self, probe: Probe) -> AbstractContextManager[nn.Module]:
        """The model whose layers are ablated."""
        return probe.model()

    def scores(self, probe: Probe) -> Tensor:
        """I_l of every layer, [L]; NaN for a fresh head.

        Raises:
            ValueError: the loss before any ablation is not finite.
        """
        seed = torch.initial_seed()  # the trial's, of this epoch: read, not drawn from
        examples = sample(probe, self._domain(), self.values["examples"])
        with self._copy(probe) as model, torch.no_grad():
            loss = mean_loss(model, examples)
            if not math.isfinite(loss):
                raise ValueError(f"{self.name}: the loss is {loss} before any layer is ablated")
            losses = self._ablated_losses(model, examples, seed)
        largest = max((x for xs in losses for x in xs if math.isfinite(x)), default=loss)
        means = [
            mean(x if math.isfinite(x) else largest for x in xs) if xs else loss for xs in losses
        ]
        scores = criticality(loss, torch.tensor(means, dtype=torch.float64))
        if probe.fresh_head:
            scores[self.partition.head_layer] = torch.nan
        return scores

    def _measure(self, probe: Probe) -> None:
        """Keep the scores of all layers for the trace, the weights of the K largest."""
        self._scores = self.scores(probe)
        count = self.values["layers"] or len(self.partition)
        kept = top_k(self._scores, count)
        if self.values["weighting"] == "binary":
            kept = torch.where(kept > 0, 1.0, kept)
        self._weights = weights_from_scores(kept, self.values["normalise"], free=kept.isnan())


class _ByIdentity(_Criticality):
    """Ablation by identity: one module at a time, or the whole layer where it can be skipped."""

    parameters = (
        *_Criticality.parameters,
        Parameter(
            "identity",
            "choice",
            None,
            "set each kernel of a layer to the identity in turn, or skip a layer that keeps its "
            "input's shape; without it skip where linear modules have no identity (ViT blocks)",
            options=("kernel", "skip"),
            optional=True,
        ),
    )

    def _ablated_losses(
        self, model: nn.Module, examples: _Examples, seed: int
    ) -> list[list[float]]:
        layers = weighted_modules(model, self.partition)
        skippable = self._skippable(model, layers, examples[0][0][:1])
        losses: list[list[float]] = []
        for index, modules in enumerate(layers):
            losses.append([])
            if modules and index in skippable:
                with skipped(skippable[index]):
                    losses[index].append(mean_loss(model, examples))
                continue
            for module in modules:
                with restored(module):
                    make_identity(module)
                    losses[index].append(mean_loss(model, examples))
        return losses

    def _skippable(
        self, model: nn.Module, layers: Sequence[Sequence[nn.Module]], images: Tensor
    ) -> dict[int, nn.Module]:
        if self.values["identity"] == "kernel":
            return {}
        keeping = shape_keeping_layers(model, self.partition, images)
        if self.values["identity"] == "skip":
            return keeping
        return {index: m for index, m in keeping.items() if has_no_identity(layers[index])}


class _ByRandom(_Criticality):
    """Ablation by fresh random weights of the whole layer."""

    parameters = (
        *_Criticality.parameters,
        Parameter(
            "draws",
            "int",
            1,
            "random weights to average over, drawn by the training seed: with one, the order of "
            "the layers differs from seed to seed; 3 or more are steadier",
            low=1,
        ),
    )

    def _ablated_losses(
        self, model: nn.Module, examples: _Examples, seed: int
    ) -> list[list[float]]:
        inside: list[list[nn.Module]] = [[] for _ in range(len(self.partition))]
        for module, layer in modules_of_layers(model, self.partition):
            inside[layer].append(module)
        losses: list[list[float]] = []
        for index, weighted in enumerate(weighted_modules(model, self.partition)):
            losses.append([])
            for draw in range(self.values["draws"] if weighted else 0):
                with restored(*inside[index]):
                    generator = _generator(seed, index, draw)
                    for module in inside[index]:
                        make_random(module, generator)
                    losses[index].append(mean_loss(model, examples))
        return losses


def _generator(*parts: int) -> torch.Generator:
    """A CPU generator of its own, from several whole numbers."""
    import numpy as np  # noqa: PLC0415  (declaring the strategies needs none)

    seed = np.random.SeedSequence(parts).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(seed[0]) >> 1)


_BY_IDENTITY = (
    "a forward pass over `examples` examples for each convolution and linear module (a ViT block "
    "counts as one), and one more"
)
_BY_RANDOM = "L x `draws` + 1 forward passes over `examples` examples"
_MEMORY = "a copy of the model while measuring"
_TARGET_PARAMETERS = (
    Parameter(
        "tune_epochs",
        "int",
        1,
        "E, epochs of full fine-tuning of the throw-away copy (the paper tries 0 to 5)",
        low=0,
        search=Choice(categorical=(0, 1, 3, 5)),
    ),
    Parameter(
        "criticality_data",
        "choice",
        "target",
        "whose examples the losses are of: the target's training data, or the source's as "
        "Algorithm 4 prints it",
        options=("target", "source"),
    ),
)


class _OnTarget(_Criticality):
    """Measured on a throw-away copy that was fine-tuned on the target (Algorithm 4)."""

    paper = f"{_PAPER}, Algorithm 4"

    @classmethod
    def needs_with(cls, given: Mapping[str, Any]) -> frozenset[Need]:
        """Source data, where the losses are, or may be, those of the source."""
        data = given.get("criticality_data", "target")
        options = data.options if isinstance(data, Choice) else (data,)
        return _SOURCE if {"source", SEARCH} & set(options) else cls.needs

    def _domain(self) -> Domain:
        domain: Domain = self.values["criticality_data"]
        return domain

    def _copy(self, probe: Probe) -> AbstractContextManager[nn.Module]:
        return probe.fine_tuned(self.values["tune_epochs"])


@register
class CriticalityIdentitySource(_ByIdentity):
    """Layers learn as the pretrained model's source loss rises when they become the identity."""

    name = "criticality_identity_source"
    summary = "learning rates by how much the source loss rises without each layer (identity)"
    paper = f"{_PAPER}, Algorithm 3"
    needs = _SOURCE
    cost = Cost(before=_BY_IDENTITY, memory=_MEMORY)


@register
class CriticalityRandomSource(_ByRandom):
    """Layers learn as the pretrained model's source loss rises when they are re-initialised."""

    name = "criticality_random_source"
    summary = "learning rates by how much the source loss rises with each layer re-initialised"
    paper = f"{_PAPER}, Algorithm 3"
    needs = _SOURCE
    cost = Cost(before=_BY_RANDOM, memory=_MEMORY)


@register
class CriticalityIdentityTarget(_OnTarget, _ByIdentity):
    """As `criticality_identity_source`, of a copy tuned on the target, by the target's loss."""

    name = "criticality_identity_target"
    summary = "learning rates by how much a tuned copy's target loss rises without each layer"
    parameters = (*_ByIdentity.parameters, *_TARGET_PARAMETERS)
    cost = Cost(
        before=f"`tune_epochs` epochs of full fine-tuning, then {_BY_IDENTITY}",
        memory=f"{_MEMORY}, with its optimizer's state while it is tuned",
    )


@register
class CriticalityRandomTarget(_OnTarget, _ByRandom):
    """As `criticality_random_source`, of a copy tuned on the target, by the target's loss."""

    name = "criticality_random_target"
    summary = (
        "learning rates by how much a tuned copy's target loss rises, each layer re-initialised"
    )
    parameters = (*_ByRandom.parameters, *_TARGET_PARAMETERS)
    cost = Cost(
        before=f"`tune_epochs` epochs of full fine-tuning, then {_BY_RANDOM}",
        memory=f"{_MEMORY}, with its optimizer's state while it is tuned",
    )
