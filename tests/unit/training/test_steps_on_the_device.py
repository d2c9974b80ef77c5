"""How a step runs on the device: deterministic where that is asked for, and without a wait."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from trial_kit import batch, config, tiny, trial

from raysel.training.batches import Batch
from raysel.training.loop import FineTuning, TrialData

IN_EVERY_STEP = ["full", "surgical", "bvg_ls", "bvg_ls_threshold", "bvg_ts", "random_layer"]


@pytest.mark.parametrize("wanted", [True, False])
def test_deterministic_algorithms_are_used_where_they_are_asked_for(monkeypatch, wanted):
    seen: list[bool] = []
    update = FineTuning._update

    def looking(self: FineTuning, *arguments: Any) -> None:
        seen.append(torch.are_deterministic_algorithms_enabled())
        update(self, *arguments)

    monkeypatch.setattr(FineTuning, "_update", looking)
    trial(config(deterministic=wanted)).run_epoch()
    assert set(seen) == {wanted}
    assert not torch.are_deterministic_algorithms_enabled()


def on(device: torch.device, data: Batch) -> Batch:
    return Batch(data.images.to(device), data.labels.to(device))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: a CPU step cannot wait")
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("strategy", IN_EVERY_STEP)
def test_a_step_makes_no_host_synchronisation(monkeypatch, strategy, optimizer):
    device = torch.device("cuda")
    parameters = {"block": "body"} if strategy == "surgical" else {}
    data = TrialData(on(device, batch(32, seed=1)), on(device, batch(16, seed=2)))
    run = trial(config(strategy, parameters, optimizer=optimizer), tiny().to(device), data)
    run.run_epoch()  # what is made once
    for name in ("_backward", "_update"):
        monkeypatch.setattr(FineTuning, name, _strict(getattr(FineTuning, name)))
    run.run_epoch()


def _strict(method: Any) -> Any:
    def watched(self: FineTuning, *arguments: Any) -> Tensor | None:
        torch.cuda.set_sync_debug_mode("error")
        try:
            answer: Tensor | None = method(self, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return answer

    return watched
