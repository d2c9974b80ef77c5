"""What a step dispatches on a device beside forward and backward: a fixed number of launches for
however many tensors, and nothing that the host would wait for.

On meta tensors, which take a GPU's path. A ResNet-18 has 62 tensors, a ResNet-50 161, and both
have 6 layers.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from device_kit import META, HostRead, Operations
from few_kit import crossed, few, several
from trial_kit import SETTINGS

from raysel.models.layers import partition
from raysel.models.shapes import shapes_of
from raysel.spec.trial_config import TrialConfig
from raysel.strategies import registered
from raysel.strategies.rates import LayerRates
from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData
from raysel.training.optimizer import OPTIMIZERS
from raysel.training.selection_trace import EpochTrace

LIMITS = {"full": 40, "bvg_ls": 80, "bvg_ls_threshold": 80, "bvg_ls_lazy": 90}
"""Launches of a step's own part with SGD; before the calls were fused 947 and 2,502 (`full`)."""

USUAL_LIMIT = 40
"""Of strategies whose weights the host knows: `full`'s, and a launch for each further rate."""

GROWS = {"bvg_ts": "every tensor is a layer of its own, and one chosen on the device is a launch"}
"""The strategies whose launches grow with the number of tensors, and why."""

FIRST = ["bvg_ls", "bvg_ls_threshold", "bvg_ls_lazy", "bvg_ts", "full", "auto_rgn", "surgical"]
WITH_ALL = {"weight_decay": 0.01, "clip_norm": 1.0}
NAMED = {"surgical": {"block": "layer2"}, "blockwise": {"block": "layer2"}}


def trial_on_meta(model: str, strategy: str, **settings: Any) -> FineTuning:
    """A trial whose gradients are there; the weights of a rate strategy differ in each layer."""
    shapes = shapes_of(model, 10)
    data = Batch(torch.empty(4, 3, 64, 64, device=META), torch.empty(4, device=META).long())
    training = SETTINGS.model_copy(update={"optimizer": "sgd", "weight_decay": 0.0, **settings})
    config = TrialConfig(
        strategy=strategy, parameters=NAMED.get(strategy, {}), training=training, seed=0
    )
    trial = FineTuning(config, shapes, partition(shapes), TrialData(data, data))
    if isinstance(trial.strategy, LayerRates):
        trial.strategy._weights = torch.linspace(0.1, 1.0, len(trial.partition))
    for parameter in trial.parameters:
        parameter.grad = torch.empty_like(parameter)
    return trial


def operations(trial: FineTuning) -> int:
    """Of a step after the first, which makes what is made once."""
    trace, loss = EpochTrace(trial.partition.names, 1), torch.zeros((), device=META)
    with Operations(strict=False):
        trial._update(loss, trace)
    with Operations() as counted:
        trial._update(loss, trace)
    return counted.total


@pytest.mark.parametrize(
    "strategy", several(len(FIRST), [*FIRST, *sorted(set(registered()) - set(FIRST))])
)
def test_a_steps_launches_do_not_grow_with_the_number_of_tensors(strategy):
    small, large = (operations(trial_on_meta(m, strategy)) for m in ("resnet18", "resnet50"))
    assert (small != large) == (strategy in GROWS), (small, large)
    if strategy not in GROWS:
        assert small < LIMITS.get(strategy, USUAL_LIMIT)


@pytest.mark.parametrize("settings", few(WITH_ALL, {}), ids=["with decay and clipping", "plain"])
@pytest.mark.parametrize(("strategy", "optimizer"), crossed(LIMITS, ["sgd", "adam", "adamw"]))
def test_neither_do_they_with_any_optimizer(strategy, optimizer, settings):
    small, large = (
        operations(trial_on_meta(model, strategy, optimizer=optimizer, **settings))
        for model in ("resnet18", "resnet50")
    )
    assert small == large < LIMITS[strategy] + 10 * bool(settings)


@pytest.mark.parametrize(
    ("strategy", "optimizer"), crossed(sorted(set(registered()) - set(LIMITS)), OPTIMIZERS)
)
def test_no_step_waits_for_the_host(strategy, optimizer):
    operations(trial_on_meta("test_resnet", strategy, optimizer=optimizer, **WITH_ALL))


@pytest.mark.parametrize("ema_init", ["paper", "debiased"])
@pytest.mark.parametrize("strategy", ["bvg_ls", "bvg_ls_threshold", "bvg_ts"])
def test_nor_where_a_tensor_gets_no_gradient(strategy, ema_init, monkeypatch):
    monkeypatch.setitem(NAMED, strategy, {"ema_decay": 0.8, "ema_init": ema_init})
    trial = trial_on_meta("test_resnet", strategy)
    trial.parameters[3].grad = None
    operations(trial)


@pytest.mark.parametrize(
    "reading",
    [
        lambda tensor: tensor.sum().item(),
        lambda tensor: bool(tensor.sum() > 0),
        lambda tensor: tensor.cpu(),
        lambda tensor: tensor.nonzero(),
        lambda tensor: tensor.to("cpu", non_blocking=True),
        lambda tensor: torch.zeros(3).copy_(tensor),
        lambda tensor: tensor.copy_(torch.zeros(3)),
        lambda tensor: torch.tensor([1.0, 2.0, 3.0]).to(META),
    ],
)
def test_a_step_that_would_wait_is_seen(reading):
    with Operations(), pytest.raises(HostRead):
        reading(torch.empty(3, device=META))
