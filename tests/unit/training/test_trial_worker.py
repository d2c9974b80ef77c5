"""What a worker keeps from trial to trial."""

from __future__ import annotations

import torch
from shared_kit import shared
from torch import nn
from trial_kit import config

from raysel.models.timm_models import timm
from raysel.training.trial_worker import TrialWorker


def rate(model: nn.Module) -> float:
    drops = [m.drop_prob for m in model.modules() if isinstance(m, timm.layers.DropPath)]
    return max(drops, default=0.0)


def test_the_model_is_built_anew_where_a_trial_has_another_rate_of_drop_path(tmp_path):
    worker = TrialWorker(shared(tmp_path))
    plain = worker.model(config("full"))
    assert worker.model(config("full", seed=2)) is plain and rate(plain) == 0
    begun = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    dropped = worker.model(config("full", drop_path=0.25))
    assert rate(dropped) == 0.25
    assert all(torch.equal(tensor, begun[n]) for n, tensor in dropped.state_dict().items())
    assert worker.model(config("full", drop_path=0.25, seed=1)) is dropped
    assert rate(worker.model(config("full"))) == 0
