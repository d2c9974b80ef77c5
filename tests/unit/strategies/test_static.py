"""Masks chosen before training: what moves, what rests, and when they are `full`."""

from __future__ import annotations

import pytest
import torch
from mask_kit import (
    LAYERS,
    assert_same,
    finished,
    moved,
    moved_layers,
    net,
    parameters,
    trial,
)

from raysel.models.layers import partition
from raysel.strategies import registered
from raysel.strategies.static import suffix_layers

OPTIMIZERS = ("sgd", "adam", "adamw")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("strategy", "values", "moving"),
    [
        ("suffix", {"layers": 2}, {"d", "head"}),
        ("surgical", {"block": "c+a"}, {"a", "c"}),
        ("blockwise", {"block": "b"}, {"b", "head"}),
        ("linear_probe", {}, {"head"}),
    ],
)
def test_frozen_layers_stay_bit_for_bit_under_weight_decay(strategy, values, moving, optimizer):
    run = trial(strategy, values, optimizer=optimizer, weight_decay=0.1)
    before = parameters(run)
    assert moved_layers(before, parameters(finished(run))) == moving


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("strategy", "values"),
    [
        ("suffix", {"layers": 6}),
        ("suffix", {"layers": 7}),
        ("surgical", {"block": "+".join(LAYERS)}),
        ("blockwise", {"block": "+".join(LAYERS)}),
    ],
)
def test_a_mask_of_every_layer_is_full(strategy, values, optimizer):
    full = finished(trial("full", optimizer=optimizer))
    assert_same(finished(trial(strategy, values, optimizer=optimizer)), full)


def test_a_single_block_is_full():
    """N = 1: the block and the classifier are the whole model."""
    run = finished(trial("blockwise", {"block": "all"}, one_layer=True))
    assert_same(run, finished(trial("full", one_layer=True)))


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [5]), (4, [2, 3, 4, 5]), (6, list(range(6))), (9, list(range(6)))]
)
def test_the_suffix_of_six_layers(count, expected):
    assert suffix_layers(count, 6) == expected


def test_a_suffix_gets_the_gradients_of_full():
    """After one step from the same start, the suffix is where full fine-tuning puts it."""
    runs = [trial(name, values, epochs=1, batch_size=16) for name, values in _SUFFIX_AND_FULL]
    suffix, full = (parameters(finished(run)) for run in runs)
    assert moved_layers(suffix, full) == {"stem", "a", "b"}


_SUFFIX_AND_FULL = [("suffix", {"layers": 3}), ("full", {})]


def test_no_backward_pass_reaches_below_the_suffix():
    run = finished(trial("suffix", {"layers": 2}))
    assert {n.split(".")[0] for n, p in run.model.named_parameters() if p.requires_grad} == {
        "d",
        "head",
    }


def test_the_last_layer_alone_is_not_the_linear_probe_where_it_holds_a_norm():
    """D1."""
    before = parameters(trial("full"))
    suffix = moved(before, parameters(finished(trial("suffix", {"layers": 1}))))
    probe = moved(before, parameters(finished(trial("linear_probe"))))
    assert probe == {"head.fc.weight", "head.fc.bias"}
    assert suffix == probe | {"head.norm.weight", "head.norm.bias"}


def test_a_block_moves_with_the_classifier_alone():
    before = parameters(trial("full"))
    after = parameters(finished(trial("blockwise", {"block": "c"})))
    assert moved(before, after) == {"c.0.weight", "c.0.bias", "head.fc.weight", "head.fc.bias"}


def test_the_blocks_are_disjoint_and_cover_the_backbone():
    """Beside the classifier each tensor belongs to exactly one block."""
    layers = partition(net())
    head = set(layers.head)
    blocks = [
        registered()["blockwise"](layers, {"block": name}).trainable_parameters() - head
        for name in layers.names
    ]
    tensors = [name for block in blocks for name in block]
    assert sorted(tensors) == sorted({n for n, _ in net().named_parameters()} - head)


def test_batch_norm_of_frozen_blocks_rests_in_frozen_eval():
    for block, drifts in (("b", False), ("a", True)):
        run = trial("blockwise", {"block": block}, batch_norm="frozen_eval")
        before = run.model.get_buffer("a.1.running_mean").clone()
        finished(run)
        assert (not torch.equal(before, run.model.get_buffer("a.1.running_mean"))) == drifts


def test_what_the_papers_say_is_declared():
    suffix, blockwise = registered()["suffix"], registered()["blockwise"]
    assert (suffix.batch_norm, blockwise.batch_norm) == ("train", "frozen_eval")
    training = blockwise.published
    assert (training.optimizer, training.learning_rate) == ("adam", 1e-3)
    assert (training.batch_size, training.epochs) == (24, 10)
    for value in (0, 1.5, True):
        assert suffix.parameters[0].problem(value, LAYERS)
    assert blockwise.parameters[0].problem("nowhere", LAYERS)
