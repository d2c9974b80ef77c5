"""Non-finite steps: counted, skipped, and fatal when ten come in a row (section 2.5)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raysel.training.nonfinite import MAX_BAD_STEPS, Diverged, NonfiniteCounter

CPU = torch.device("cpu")
GOOD = (torch.tensor(1.0), torch.tensor([4.0, 0.0], dtype=torch.float64))
BAD = (torch.tensor(float("nan")), GOOD[1])


def _on_device() -> NonfiniteCounter:
    """As on an accelerator, where the host does not look at every step."""
    health = NonfiniteCounter(CPU)
    health._on_host = False
    return health


def test_the_limit_is_that_of_the_notes():
    assert MAX_BAD_STEPS == 10


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("of", ["loss", "gradients"])
def test_a_step_with_a_number_that_is_not_finite_is_not_sound(of, value):
    loss, norms = GOOD[0].clone(), GOOD[1].clone()
    if of == "loss":
        loss.fill_(value)
    else:
        norms[1] = value
    assert NonfiniteCounter(CPU).is_finite(*GOOD) is True
    assert NonfiniteCounter(CPU).is_finite(loss, norms) is False
    flag = _on_device().is_finite(loss, norms)
    assert isinstance(flag, Tensor) and flag.shape == () and not flag


def test_infinite_norms_of_both_signs_do_not_hide_each_other():
    norms = torch.tensor([float("inf"), -float("inf"), 1.0], dtype=torch.float64)
    assert NonfiniteCounter(CPU).is_finite(GOOD[0], norms) is False


def test_nine_in_a_row_are_borne_however_often():
    health = NonfiniteCounter(CPU)
    for _ in range(3):
        for _ in range(9):
            assert health.is_finite(*BAD) is False
        assert health.is_finite(*GOOD) is True
    health.check()
    assert health.skipped == 27


def test_ten_in_a_row_end_the_trial():
    health = NonfiniteCounter(CPU)
    for _ in range(9):
        health.is_finite(*BAD)
    with pytest.raises(Diverged):
        health.is_finite(*BAD)


def test_on_a_device_ten_in_a_row_are_found_when_the_counters_are_read():
    """Also when finite steps came after them."""
    health = _on_device()
    for _ in range(10):
        health.is_finite(*BAD)
    for _ in range(5):
        health.is_finite(*GOOD)
    with pytest.raises(Diverged):
        health.check()


def test_on_a_device_the_counters_are_read_every_so_many_steps():
    health = _on_device()
    with pytest.raises(Diverged):
        for _ in range(60):
            health.is_finite(*BAD)


def test_nine_in_a_row_are_borne_on_a_device_too():
    health = _on_device()
    for _ in range(12):
        for _ in range(9):
            health.is_finite(*BAD)
        health.is_finite(*GOOD)
    health.check()
    assert health.skipped == 108


@pytest.mark.parametrize(
    "make", [lambda: NonfiniteCounter(CPU), _on_device], ids=["host", "device"]
)
def test_a_row_of_bad_steps_goes_on_after_a_resume(make):
    health, resumed = make(), make()
    for _ in range(6):
        health.is_finite(*BAD)
    resumed.load_state_dict(health.state_dict())
    assert resumed.skipped == 6
    with pytest.raises(Diverged):
        for _ in range(4):
            resumed.is_finite(*BAD)
        resumed.check()
