"""Masks that are known before training, epoch by epoch, against tables written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from fake_probe import FakeProbe, Stack, decided, made
from hypothesis import given
from hypothesis import strategies as st

# --- what moves in an epoch ------------------------------------------------------------------


def timetable(
    name: str, depth: int, epochs: int, fresh_head: bool = False, **values: object
) -> list[list[float]]:
    """The weights of each epoch; a layer that is not active in it counts as 0."""
    net = Stack(depth)
    probe = FakeProbe(net, net.partition(), [], fresh_head=fresh_head)
    strategy = made(name, probe.partition, **values)
    strategy.prepare(probe)
    rows = []
    for epoch in range(1, epochs + 1):
        strategy.epoch_start(epoch, epochs, probe)
        weights = decided(strategy, net).weights
        active = strategy.active(epoch, epochs)
        rows.append([float(w) if i in active else 0.0 for i, w in enumerate(weights)])
    return rows


def sets(rows: list[list[float]]) -> list[list[int]]:
    return [[i + 1 for i, weight in enumerate(row) if weight > 0] for row in rows]


# --- gradual unfreezing ---------------------------------------------------------------------------


def test_the_table_of_the_notes():
    """L = 6, E = 12, last to first: epochs 1-2 {6}, 3-4 {5, 6}, ... 11-12 all."""
    assert sets(timetable("gradual_unfreeze", 6, 12, direction="last_to_first")) == [
        [6], [6], [5, 6], [5, 6], [4, 5, 6], [4, 5, 6],
        [3, 4, 5, 6], [3, 4, 5, 6], [2, 3, 4, 5, 6], [2, 3, 4, 5, 6],
        [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6],
    ]  # fmt: skip


def test_from_the_input_up():
    assert sets(timetable("gradual_unfreeze", 3, 6, direction="first_to_last")) == [
        [1], [1], [1, 2], [1, 2], [1, 2, 3], [1, 2, 3],
    ]  # fmt: skip


def test_a_fresh_head_moves_from_the_first_stage_on():
    """D30: above a body that moves, a random head that rests has no meaning."""
    rows = timetable("gradual_unfreeze", 3, 3, fresh_head=True, direction="first_to_last")
    assert sets(rows) == [[1, 3], [1, 2, 3], [1, 2, 3]]


def test_epochs_that_are_left_over_go_to_the_last_stage():
    """E = 8, L = 3: two epochs a stage, four in the last."""
    rows = timetable("gradual_unfreeze", 3, 8)
    assert sets(rows) == [[3], [3], [2, 3], [2, 3], *[[1, 2, 3]] * 4]


def test_more_layers_than_epochs():
    """E = 3, L = 7: three more layers an epoch, all in the last."""
    rows = timetable("gradual_unfreeze", 7, 3)
    assert sets(rows) == [[5, 6, 7], [2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7]]


def test_a_stage_of_a_given_length():
    rows = timetable("gradual_unfreeze", 4, 5, epochs_per_stage=1)
    assert sets(rows) == [[4], [3, 4], [2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]


def test_rates_that_fall_from_layer_to_layer():
    """ULMFiT: the rate of a layer is that of the next one over 2.6; frozen layers have none."""
    rows = timetable("gradual_unfreeze", 3, 3, decay=2.6)
    np.testing.assert_allclose(rows[0], [0, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(rows[1], [0, 1 / 2.6, 1], rtol=1e-6)
    np.testing.assert_allclose(rows[2], [1 / 2.6**2, 1 / 2.6, 1], rtol=1e-6)


@given(st.integers(1, 12), st.integers(1, 30), st.sampled_from(["last_to_first", "first_to_last"]))
def test_any_timetable_grows_by_neighbours_and_ends_with_every_layer(layers, epochs, direction):
    """Simulated: one more layer a stage, E // L epochs a stage where they suffice."""
    rows = sets(timetable("gradual_unfreeze", layers, epochs, direction=direction))
    each = max(1, epochs // layers)
    more = 1 if epochs >= layers else -(-layers // epochs)
    order = list(range(1, layers + 1))
    if direction == "last_to_first":
        order.reverse()
    moving, expected = 0, []
    for epoch in range(epochs):
        if epoch % each == 0:
            moving = min(layers, moving + more)
        expected.append(sorted(order[:moving]))
    assert rows == expected
    assert rows[-1] == list(range(1, layers + 1))


# --- linear probing, then tuning --------------------------------------------------------------


def test_lp_ft():
    """E1 = 2 of 5: the head alone twice, then everything."""
    rows = timetable("lp_ft", 4, 5, probe_epochs=2)
    assert rows == [[0, 0, 0, 1]] * 2 + [[1, 1, 1, 1]] * 3


def test_lp_ft_without_tuning_is_linear_probing_and_without_probing_full():
    assert timetable("lp_ft", 4, 3, probe_epochs=3) == [[0, 0, 0, 1]] * 3
    assert timetable("lp_ft", 4, 3, probe_epochs=0) == timetable("full", 4, 3)
    assert sets(timetable("linear_probe", 4, 3)) == [[4]] * 3


def test_lp_ft_probes_at_a_rate_of_its_own():
    """S1: 0.1 while probing, 1e-5 afterwards: a weight of 1e4."""
    rows = timetable("lp_ft", 3, 2, probe_epochs=1, probe_rate=1e4)
    assert rows == [[0, 0, 1e4], [1, 1, 1]]


# --- masks that never change -----------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 7))
def test_suffix_is_the_last_layers(count):
    """Ln-L: L6-6 is the head's layer alone, L1-6 is full fine-tuning."""
    rows = timetable("suffix", 6, 2, layers=count)
    assert sets(rows) == [list(range(7 - count, 7))] * 2
    if count == 6:
        assert rows == timetable("full", 6, 2)


def test_surgical_is_the_named_layers():
    assert sets(timetable("surgical", 5, 2, block="layer1+layer3")) == [[2, 4]] * 2
    every = "+".join(Stack(5).partition().names)
    assert timetable("surgical", 5, 2, block=every) == timetable("full", 5, 2)


def test_blockwise_is_one_block_and_the_head():
    for index in range(4):
        assert sets(timetable("blockwise", 5, 1, block=f"layer{index}")) == [[index + 1, 5]]


def test_blockwise_of_a_network_of_one_block_is_full():
    assert timetable("blockwise", 2, 2, block="layer0") == timetable("full", 2, 2)


# --- one layer at random --------------------------------------------------------------------
