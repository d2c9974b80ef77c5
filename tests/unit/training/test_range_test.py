"""The range test, against a plain loop of torch's SGD whose rate grows with every step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from trial_kit import DATA, config, tiny, trial

from raysel.training import range_test as range_test_module
from raysel.training.batches import epoch_batches
from raysel.training.range_test import HIGHEST, LOWEST, range_test, valley

STEPS = 20


def plain_losses() -> list[float]:
    model = tiny(dropout=0.0).eval()
    optimizer = torch.optim.SGD(model.parameters(), 1.0, 0.9, nesterov=True)
    rates, losses = np.geomspace(LOWEST, HIGHEST, STEPS), []
    for epoch in range(1, 5):
        for batch in epoch_batches(DATA.train, 8, 0, epoch):
            optimizer.param_groups[0]["lr"] = float(rates[len(losses)])
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(batch.images), batch.labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def test_each_steps_rate_is_a_constant_factor_above_the_last_and_its_loss_is_smoothed():
    run = trial(config("full", epochs=9, batch_norm="eval"), tiny(dropout=0.0))
    found = range_test(run, STEPS)
    assert len(found.rates) == STEPS and found.rates[0] == LOWEST and found.rates[-1] == HIGHEST
    ratios = np.divide(found.rates[1:], found.rates[:-1])
    assert np.allclose(ratios, ratios[0])
    average, wanted = 0.0, []
    for step, loss in enumerate(plain_losses(), 1):
        average = 0.98 * average + 0.02 * loss
        wanted.append(average / (1 - 0.98**step))
    assert found.losses == pytest.approx(wanted, rel=1e-4)


def test_it_takes_no_more_steps_than_the_trial_has():
    found = range_test(trial(config("full", epochs=2)), 100)
    assert len(found.rates) == 10 and found.rates[-1] == HIGHEST


def test_it_ends_where_the_loss_is_too_far_above_its_lowest(monkeypatch):
    monkeypatch.setattr(range_test_module, "_TOO_MUCH", 1.0)
    found = range_test(trial(config("full", epochs=30)), 150)
    assert len(found.rates) == len(found.losses) < 150
    assert found.losses[-1] > min(found.losses) == min(found.losses[:-1])
    falling = found.losses[:-1]
    assert list(falling) == sorted(falling, reverse=True)


def fastais_valley(losses: list[float]) -> int:
    """The reference: `fastai.callback.schedule.valley`, its variables' names included."""
    n = len(losses)
    max_start, max_end, lds = 0, 0, [1] * n
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and lds[i] < lds[j] + 1:
                lds[i] = lds[j] + 1
            if lds[max_end] < lds[i]:
                max_end = i
                max_start = max_end - lds[max_end]
    sections = (max_end - max_start) / 3
    return max_start + int(sections) + int(sections / 2)


def test_suggested_is_fastais_valley():
    draws = np.random.default_rng(0)
    for count in (10, 37, 100):
        for _ in range(20):
            losses = list(np.cumsum(draws.normal(-0.02, 0.1, count)))
            assert valley(losses) == fastais_valley(losses)
    assert valley([1.0, 2.0, 3.0]) is None and valley([]) is None and valley([2.0]) is None
    assert valley([2.0, 1.0]) == 0


def test_noise_of_the_first_steps_suggests_nothing():
    """The losses of a real sweep's first test: batches differ, and no rate does anything yet."""
    noise = np.random.default_rng(1).normal(0.0, 0.3, 20)
    losses = [*(1.7 + noise / np.arange(1, 21)), *np.linspace(1.7, 0.9, 40), *range(2, 6)]
    middle = valley(losses)
    assert middle is not None and 30 < middle < 50
