"""AutoFreeze against the test of its paper, written in NumPy over the gradients of a trial."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from every_strategy_kit import STEPS, Tiny, data, seeded_model, tensors, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from raysel.strategies.autofreeze import first_moving, gradient_change
from raysel.training.loop import FineTuning

EPOCHS = 6
HEAD = 3


def freezing(percentile: float, **training: Any) -> FineTuning:
    run = trial("autofreeze", seeded_model(Tiny), data(8), epochs=EPOCHS, **training)
    run.strategy.values["percentile"] = percentile
    return run


def gradients_of(run: FineTuning) -> list[list[np.ndarray | None]]:
    """Filled with each step's gradients while the trial runs."""
    seen: list[list[np.ndarray | None]] = []
    decide = run.strategy.decide

    def watched(step: Any) -> Any:
        seen.append([None if g is None else g.double().numpy().copy() for g in step.gradients])
        return decide(step)

    run.strategy.decide = watched  # type: ignore[method-assign]
    return seen


def lengths(steps: list[list[np.ndarray | None]], layer_of: list[int]) -> np.ndarray:
    """The L1 length of each layer's summed gradient."""
    found = np.zeros(max(layer_of) + 1)
    for tensor, layer in enumerate(layer_of):
        there = [step[tensor] for step in steps if step[tensor] is not None]
        found[layer] += np.abs(np.sum(there, axis=0)).sum() if there else 0.0
    return found


@pytest.mark.parametrize("percentile", [0.0, 50.0, 80.0])
def test_each_epoch_freezes_what_the_papers_test_says(percentile):
    run = freezing(percentile)
    seen, first, frozen = gradients_of(run), 0, []
    epochs: list[np.ndarray] = []
    for epoch in range(EPOCHS):
        run.run_epoch()
        if epoch >= 2:
            before, after = epochs[-2][:HEAD], epochs[-1][:HEAD]
            with np.errstate(invalid="ignore"):  # of layers that were frozen before
                eta = np.abs(before - after) / before
            level = np.percentile(eta[first:], percentile)
            first = next(layer for layer in range(first, HEAD) if eta[layer] >= level * (1 - 1e-9))
        assert run.strategy.active(epoch + 1, EPOCHS) == list(range(first, HEAD + 1))
        epochs.append(lengths(seen[epoch * STEPS :], run.layer_of))
        frozen.append(first)
    assert frozen[-1] == 0 if percentile == 0 else frozen[-1] > 0


def test_a_frozen_layer_keeps_its_weights_and_is_never_released():
    run = freezing(80.0, weight_decay=0.1)
    firsts = []
    for _ in range(EPOCHS):
        before = tensors(run.model)
        run.run_epoch()
        first = run.strategy.active(1, EPOCHS)[0]
        firsts.append(first)
        for name, parameter in run.model.named_parameters():
            at_rest = run.partition.layer_of[name] < first
            assert torch.equal(parameter, before[name]) == at_rest, name
    assert firsts == sorted(firsts) and firsts[-1] > 0


def test_resumed_after_a_freeze_it_ends_bit_identical():
    whole = freezing(80.0)
    for _ in range(4):
        whole.run_epoch()
    assert whole.strategy.active(1, EPOCHS)[0] > 0
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    second = freezing(80.0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for run in (whole, second):
        run.run_epoch()
        run.run_epoch()
    for name, value in tensors(whole.model).items():
        assert torch.equal(value, tensors(second.model)[name]), name


def test_a_layer_without_a_gradient_before_has_changed_without_bound():
    before, after = torch.tensor([[0.0, 0.0, 2.0], [0.0, 1.0, 3.0]], dtype=torch.float64)
    assert gradient_change(before, after).tolist() == [0.0, torch.inf, 0.5]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 2.0, float("inf")]), min_size=1, max_size=8),
    st.integers(0, 7),
    st.sampled_from([0.0, 25.0, 50.0, 99.0, 100.0]),
)
def test_it_never_goes_back_and_always_leaves_a_layer(change, first, percentile):
    first = min(first, len(change) - 1)
    found = first_moving(torch.tensor(change, dtype=torch.float64), first, percentile)
    assert first <= found < len(change)
    if percentile == 0:
        assert found == first
