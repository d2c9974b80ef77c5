"""The contract of strategies over adapters: what moves, what stays, a trial that goes on."""

from __future__ import annotations

import io

import pytest
import torch
from adapter_kit import CONFIG, SIZE, layers_of
from every_strategy_kit import (
    STRATEGIES,
    assert_same,
    checked,
    data,
    run_checked,
    same_bits,
    tensors,
    trial,
)
from few_kit import several

from raysel.models.build import build
from raysel.strategies import registered
from raysel.training.loop import FineTuning

FIRST = ["bvg_ls", "full", "auto_rgn", "surgical", "surprise", "criticality_random_target"]
SUITED = [name for name in STRATEGIES if name not in ("norm_only", "bias_only", "mlp_only")]
ORDERED = [*FIRST, *(name for name in SUITED if name not in FIRST)]


def begun(name: str) -> FineTuning:
    return trial(name, build(CONFIG, 0), data(SIZE), layers_of(), learning_rate=0.1)


def test_strategies_of_what_adapters_are_not_say_so():
    layers = layers_of()
    assert [name for name in STRATEGIES if registered()[name].problem(layers) is None] == SUITED


@pytest.mark.parametrize("name", several(len(FIRST), ORDERED))
def test_base_weights_never_move_and_a_resumed_trial_ends_bit_identical(name):
    whole = begun(name)
    before = tensors(whole.model)
    run_checked(whole, 1)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    assert not any("base_layer" in key for key in whole.state_dict()["model"])
    run_checked(whole, 1)
    moved = {n for n, t in tensors(whole.model).items() if not same_bits(t, before[n])}
    assert moved and all("lora_" in key or key.startswith("head.") for key in moved), moved
    file.seek(0)
    second = begun(name)
    second.load_state_dict(torch.load(file, weights_only=True))
    second.run_epoch()
    assert_same(tensors(second.model), tensors(whole.model), "model")
    assert_same(second.state_dict(), whole.state_dict(), "state")


def test_a_mask_moves_the_adapters_of_its_layers_alone():
    run = begun("surgical")
    (block,) = run.strategy.values["block"].split("+")
    before = tensors(run.model)
    run_checked(run, 2)
    moved = {n for n, t in tensors(run.model).items() if not same_bits(t, before[n])}
    assert moved == {n for n in before if n.startswith(f"{block}.") and "lora_" in n}


def test_every_layer_is_chosen_by_the_ratio_of_its_adapters():
    run = begun("bvg_ls")
    with checked(run) as decisions:
        run.run_epoch()
    for decision in decisions:
        assert decision.scores is not None and len(decision.scores) == len(layers_of())
        assert decision.weights.sum() >= 1
        assert bool(torch.isfinite(decision.scores).any())
