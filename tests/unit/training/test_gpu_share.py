"""A trial with a share of a GPU keeps to it. No GPU is needed: torch's calls are listened to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from raysel.training.gpu_share import CONTEXT_BYTES, keep_to_share


@pytest.fixture
def bounds(monkeypatch):
    """The fractions that torch was given, on a GPU of 80 GiB."""
    reported: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    memory = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", reported.append)
    return reported


def test_a_share_leaves_room_for_the_context_of_each_process(bounds):
    keep_to_share(0.5)
    (fraction,) = bounds
    assert 2 * (fraction * 80 * 2**30 + CONTEXT_BYTES) <= 80 * 2**30
    assert fraction > 0.49


def test_a_tiny_share_is_never_less_than_half_of_what_was_asked(bounds):
    keep_to_share(0.01)
    assert bounds == [0.005]


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_whole_gpu_and_none_are_not_bounded(bounds, gpus):
    keep_to_share(gpus)
    assert bounds == []


def test_without_a_gpu_nothing_is_set(bounds, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    keep_to_share(0.5)
    assert bounds == []
