"""LISA: which layers move when, how often each does, and what the others keep."""

from collections import Counter

import torch
from every_strategy_kit import Tiny, data, seeded_model, tensors, trial

from raysel.models.layers import partition
from raysel.strategies.registry import strategy_named
from raysel.strategies.sampled_layers import sampled_layers


def test_both_ends_always_and_the_wanted_number_between():
    for interval in range(50):
        moving = sampled_layers(12, 3, interval, 0, 0)
        assert {0, 11} <= set(moving) and len(moving) == 5


def test_every_layer_between_is_as_likely():
    drawn = Counter(layer for i in range(6_000) for layer in sampled_layers(8, 2, i, 4, 0))
    assert drawn[0] == drawn[7] == 6_000
    for layer in range(1, 7):  # 2 of 6; four standard deviations are 146
        assert abs(drawn[layer] - 2_000) < 150, layer


def test_seeds_draw_other_layers_and_few_layers_all_move():
    first = [sampled_layers(12, 2, i, 0, 0) for i in range(20)]
    assert first != [sampled_layers(12, 2, i, 1, 0) for i in range(20)]
    assert first != [sampled_layers(12, 2, i, 0, 1) for i in range(20)]
    assert sampled_layers(4, 9, 0, 0, 0) == (0, 1, 2, 3)
    assert sampled_layers(2, 1, 0, 0, 0) == (0, 1)
    assert sampled_layers(1, 1, 0, 0, 0) == (0,)


def test_they_change_every_k_steps_of_the_trial_and_at_no_other():
    strategy = strategy_named("lisa")(partition(seeded_model(Tiny)), {"sampled": 1, "every": 3})
    chosen = [strategy.needs_gradients(number, 7) for number in range(1, 61)]
    for begin in range(0, 60, 3):
        assert len(set(chosen[begin : begin + 3])) == 1
    assert len(set(chosen)) == 2  # of the two layers between, both


def test_a_step_moves_these_alone_and_computes_no_other_gradient():
    model = seeded_model(Tiny)
    run = trial(
        "lisa", model, data(8), batch_norm="eval"
    )  # one of two layers, for two steps of three
    run.step_limit = 2
    before = tensors(model)
    moving = run.strategy.needs_gradients(1, run.config.seed)
    run.run_epoch()
    rest = (set(range(4)) - set(moving)).pop()
    for name, parameter in model.named_parameters():
        at_rest = run.partition.layer_of[name] == rest
        assert torch.equal(parameter, before[name]) == at_rest, name
        assert (parameter.grad is None) == at_rest, name
