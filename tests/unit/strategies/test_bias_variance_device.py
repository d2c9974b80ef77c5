"""Bias-variance guidance on a device: its checkpoint is read on the CPU.

The meta device holds shapes alone, and refuses a CPU tensor beside its own as CUDA does.
"""

from __future__ import annotations

import pytest
import torch
from bias_variance_oracle import INITS, SIZES, Driver, random_gradients
from device_kit import META, Operations
from torch import nn

from raysel.strategies.base import Step


def _on_meta(driver: Driver, with_buffers: bool) -> Step:
    gradients = [torch.empty_like(p, device=META) for p in driver.parameters]
    return Step(
        number=3,
        parameters=[nn.Parameter(gradient) for gradient in gradients],
        gradients=list(gradients),
        squared_norms=torch.empty(len(gradients), dtype=torch.float64, device=META),
        layer_of=driver.layer_of.to(META),
        layer_count=driver.layer_count,
        momentum_buffers=gradients if with_buffers else None,
        momentum=0.9,
        finite=torch.empty((), dtype=torch.bool, device=META),
    )


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("with_buffers", [False, True])
@pytest.mark.parametrize("ema_init", INITS)
@pytest.mark.parametrize("name", ["bvg_ls", "bvg_ls_threshold"])
def test_it_decides_on_the_device_of_the_gradients(name, ema_init, with_buffers, resumed):
    fresh = Driver(name, SIZES, ema_decay=0.9, ema_init=ema_init)
    if resumed:
        before = Driver(name, SIZES, ema_decay=0.9, ema_init=ema_init)
        for gradients in random_gradients(1, 2):
            buffers = [g for g in gradients if g is not None] if with_buffers else None
            before.step(gradients, buffers=buffers, momentum=0.9)
        fresh.strategy.load_state_dict(before.strategy.state_dict())
    with Operations(strict=False):  # what is made, or copied there, once
        fresh.strategy.decide(_on_meta(fresh, with_buffers))
    step = _on_meta(fresh, with_buffers)
    with Operations():
        decision = fresh.strategy.decide(step)
    assert decision.weights.device == META
    assert decision.scores is not None and decision.scores.device == META
