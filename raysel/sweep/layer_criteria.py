"""What each criterion says of a model's layers before training, on one split's training part.

The criteria are those by which the strategies of the papers choose, measured on the initial
model, which none of them changes:

    gradient_norm      ||g_l||
    rgn                ||g_l|| / ||theta_l||                              (auto_rgn)
    newton_step        ||(H^-1 g)_l|| / ||theta_l||, the curvature        (auto_rgn_hessian)
    snr                signal-to-noise ratio of the examples' gradients   (auto_snr)
    surprise           drift of the activations from source to target     (surprise)
    criticality        loss with the layer re-initialised, on a copy that was tuned for an epoch
                                                                          (criticality_random_target)
    bvr_1, _10, _100   bias-variance ratio after so many batches          (bvg_ls)

After one batch every variance is 0 and the ratio infinite; layers are then ranked by the length of
their mean gradient, as the strategy ranks them (docs/algorithms.md, D9).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import count as counter
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raysel.models.layers import Partition
from raysel.models.norms import squared_norms
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import registered
from raysel.strategies.base import Step
from raysel.strategies.bias_variance import GradientMoments
from raysel.strategies.gradients import layer_norms, mean_gradient
from raysel.strategies.rates import LayerRates
from raysel.strategies.surprise import NoInputShift
from raysel.training.batches import Batch, Data, epoch_batches
from raysel.training.diagnostics import EMA_DECAY
from raysel.training.loop import FineTuning
from raysel.training.probe import TrialProbe
from raysel.training.trial_worker import TrialWorker

STEPS = (1, 10, 100)
BATCHES = 5
"""Of the gradient's criteria, as the strategies take them."""

_BY_STRATEGY: dict[str, tuple[str, dict[str, Any]]] = {
    "rgn": ("auto_rgn", {"batches": BATCHES, "aggregate": "norm_of_mean"}),
    "newton_step": ("auto_rgn_hessian", {"batches": BATCHES}),
    "snr": ("auto_snr", {"batches": 2}),
    "surprise": ("surprise", {}),
    "criticality": ("criticality_random_target", {"draws": 3}),
}
CRITERIA = ("gradient_norm", *_BY_STRATEGY, *(f"bvr_{steps}" for steps in STEPS))


def criteria_of(worker: TrialWorker, config: TrialConfig) -> dict[str, list[float]]:
    """Criterion -> a score a layer, [L]; NaN where a layer has none. `surprise` is left out where
    the task has no source part, and where its inputs have not shifted beyond their noise.

    Args:
        config: of the run `full` on the split, whose seed the draws follow.
    """
    model = worker.model(config)
    partition = worker.shared.partition
    data = worker.data(config)
    torch.manual_seed(config.seed)
    tuning = FineTuning(config, model, partition, data, fresh_head=worker.has_fresh_head)
    probe = tuning.probe
    found = {"gradient_norm": _gradient_norm(probe, partition)}
    for name, (strategy, parameters) in _BY_STRATEGY.items():
        if name != "surprise" or data.source is not None:
            rule = registered()[strategy](partition, parameters)
            assert isinstance(rule, LayerRates)
            with suppress(NoInputShift):
                found[name] = rule.scores(probe)
    with probe.model() as copy:
        found |= _ratios(copy, partition, data.train, config)
    return {name: [float(score) for score in scores] for name, scores in found.items()}


def _gradient_norm(probe: TrialProbe, partition: Partition) -> Tensor:
    with probe.model() as model:
        mean = mean_gradient(model, partition, probe.batches("target", BATCHES))
    if mean is None:
        return torch.full((len(partition),), torch.nan, dtype=torch.float64)
    return layer_norms(mean.vector, partition)


def _ratios(
    model: nn.Module, partition: Partition, train: Data, config: TrialConfig
) -> dict[str, Tensor]:
    """The bias-variance ratio of every layer after some batches of the trial's own order, the
    weights as they are."""
    layer_of = partition.layer_of
    named = {n: p for n, p in model.named_parameters() if n in layer_of}
    index = torch.tensor([layer_of[n] for n in named], device=next(model.parameters()).device)
    moments, found = GradientMoments(EMA_DECAY, debiased=True), {}
    for number, batch in enumerate(islice(_batches(train, config), STEPS[-1]), 1):
        parameters = list(named.values())
        loss = functional.cross_entropy(model(batch.images), batch.labels)
        gradients: list[Tensor | None] = [*torch.autograd.grad(loss, parameters, allow_unused=True)]
        step = Step(
            number=number,
            parameters=parameters,
            gradients=gradients,
            squared_norms=squared_norms(gradients, index.device),
            layer_of=index,
            layer_count=len(partition),
            momentum_buffers=None,
            momentum=0.0,
        )
        with torch.no_grad():
            ratio, b_sq, _ = moments.advance(step)
        if number in STEPS:
            found[f"bvr_{number}"] = b_sq if bool(torch.isinf(ratio).all()) else ratio
    return found


def _batches(train: Data, config: TrialConfig) -> Iterator[Batch]:
    for epoch in counter(1):
        yield from epoch_batches(train, config.training.batch_size, config.seed, epoch)
