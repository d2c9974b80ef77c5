"""L2-SP, against autograd of the loss that the paper writes down."""

from __future__ import annotations

import io

import pytest
import torch
from device_kit import Dispatched
from torch import nn
from torch.nn import functional
from trial_kit import DATA, config, differences, finished, learnt, tensors, tiny, trial

from raysel.training.batches import epoch_batches
from raysel.training.pull import Pull

STRENGTH = 0.4


def plain_loop(epochs: int, momentum: float) -> nn.Module:
    """torch's SGD on cross-entropy plus strength / 2 times the squared distance."""
    model = tiny(dropout=0.0).eval()
    start = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum, nesterov=True)
    for epoch in range(1, epochs + 1):
        for batch in epoch_batches(DATA.train, 8, 0, epoch):
            optimizer.zero_grad()
            pairs = zip(model.parameters(), start, strict=True)
            far = sum(((mine - begun) ** 2).sum() for mine, begun in pairs)
            loss = functional.cross_entropy(model(batch.images), batch.labels)
            (loss + STRENGTH / 2 * far).backward()
            optimizer.step()
    return model


def test_a_trial_is_torchs_sgd_on_the_papers_loss():
    chosen = config("full", epochs=2, batch_norm="eval", pull_strength=STRENGTH)
    run = trial(chosen, tiny(dropout=0.0))
    finished(run)
    wanted = plain_loop(2, 0.9).state_dict()
    for name, tensor in tensors(run).items():
        assert torch.allclose(tensor, wanted[name], rtol=1e-5, atol=1e-6), name
    free = trial(config("full", epochs=2, batch_norm="eval"), tiny(dropout=0.0))
    finished(free)
    begun = tiny().state_dict()["stem.0.weight"]
    away = [(tensors(r)["stem.0.weight"] - begun).norm() for r in (run, free)]
    assert away[0] < 0.8 * away[1]


def test_a_fresh_head_and_what_got_no_gradient_are_not_pulled():
    model = tiny()
    names = [name for name, _ in model.named_parameters()]
    pull = Pull(list(model.parameters()), names, STRENGTH, {"head.weight", "head.bias"})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    given = [torch.ones_like(p) for p in model.parameters()]
    gradients = [None if name == "stem.0.bias" else g for name, g in zip(names, given, strict=True)]
    found = dict(zip(names, pull.added(gradients), strict=True))
    assert found["stem.0.bias"] is None
    assert found["head.bias"] is given[-1]
    weight = found["stem.0.weight"]
    assert weight is not None and torch.allclose(weight, torch.full_like(weight, 1 + STRENGTH))
    assert all(torch.equal(g, torch.ones_like(g)) for g in given)  # as new tensors
    off = Pull(list(model.parameters()), names, 0.0)
    assert off.added(gradients) is gradients


def test_it_is_two_launches_for_however_many_tensors():
    for count in (2, 40):
        parameters = [nn.Parameter(torch.ones(3)) for _ in range(count)]
        pull = Pull(parameters, [str(i) for i in range(count)], STRENGTH)
        with torch.no_grad(), Dispatched() as counted:
            pull.added([torch.ones(3) for _ in range(count)])
        assert {n: c for n, c in counted.names.items() if "foreach" in n} == {"_foreach_add": 2}


@pytest.mark.parametrize("extra", [{"pull_strength": STRENGTH}, {"wise_ft": (0.3, 0.7, 1.0)}])
def test_a_trial_resumed_with_it_ends_bit_identical(extra):
    chosen = config("bvg_ls", epochs=3, weight_averaging=0.5, **extra)
    whole = trial(chosen, keep_best=True)
    whole.run_epoch()
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    second = trial(chosen, keep_best=True)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert finished(second)[-1].keys() == finished(whole)[-1].keys()
    assert differences(learnt(second), learnt(whole)) == []
