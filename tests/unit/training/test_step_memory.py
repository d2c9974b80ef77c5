"""The memory of a step, estimated without data and counted on a real one."""

from __future__ import annotations

import gc

import pytest
import torch
from few_kit import slow
from step_kit import config_of, layers_of, measured_peak

from raysel.models.build import ModelConfig
from raysel.training.step_memory import LiveBytes, step_memory

CONVOLUTIONS = ModelConfig("test_resnet", 10, 3, (64, 64))
ATTENTION = ModelConfig("test_vit", 10, 3, (160, 160))

FLOAT = 4


@pytest.mark.parametrize(
    ("model_config", "strategy", "training"),
    [
        (CONVOLUTIONS, "full", {"batch_size": 32}),
        (ATTENTION, "full", {"batch_size": 8, "precision": "bfloat16"}),
        *slow(
            [
                (ATTENTION, "full", {"batch_size": 2, "optimizer": "adamw"}),  # the update: worst
                (CONVOLUTIONS, "bvg_ls", {"batch_size": 4, "momentum": 0.5}),  # its own average
            ]
        ),
    ],
    ids=["convolutions", "bfloat16", "adamw", "bvg_ls"],
)
def test_the_peak_is_that_of_a_real_step_within_15_percent(model_config, strategy, training):
    layers = layers_of(model_config)
    config = config_of(strategy, layers, **training)
    estimated = step_memory(model_config, layers, config, "cpu")
    assert estimated.peak == pytest.approx(measured_peak(model_config, layers, config), rel=0.15)


def test_the_parts_are_those_of_the_model():
    layers = layers_of(CONVOLUTIONS)
    whole = step_memory(CONVOLUTIONS, layers, config_of("full", layers, batch_size=8), "cpu")
    count = sum(layer.size for layer in layers.layers)
    assert whole.gradients == whole.optimizer == FLOAT * count
    assert FLOAT * count <= whole.parameters < 1.05 * FLOAT * count  # and buffers
    adam = config_of("full", layers, batch_size=8, optimizer="adam")
    steps = FLOAT * sum(len(layer.parameters) for layer in layers.layers)
    assert step_memory(CONVOLUTIONS, layers, adam, "cpu").optimizer == 2 * FLOAT * count + steps


def test_what_rests_takes_neither_gradients_nor_optimizer():
    layers = layers_of(CONVOLUTIONS)
    head = layers.layers[-1].size
    found = step_memory(
        CONVOLUTIONS, layers, config_of("linear_probe", layers, batch_size=8), "cpu"
    )
    assert found.gradients == found.optimizer == FLOAT * head


@pytest.mark.slow
def test_activations_grow_with_the_batch():
    layers = layers_of(CONVOLUTIONS)
    small, large = (
        step_memory(CONVOLUTIONS, layers, config_of("full", layers, batch_size=b), "cpu")
        for b in (64, 128)
    )
    assert large.activations == pytest.approx(2 * small.activations, rel=0.1)


@pytest.mark.slow
def test_a_huge_step_is_estimated_without_being_taken():
    huge = ModelConfig("vit_base_patch16_224", 1000, 3, (224, 224))
    layers = layers_of(huge)
    found = step_memory(huge, layers, config_of("full", layers, batch_size=4096), "cuda")
    assert found.peak > 300e9


def test_live_bytes_are_counted_once_and_given_back():
    with LiveBytes() as live:
        tensor = torch.zeros(1000)
        assert live.now == 4000
        view = tensor[10:]  # noqa: F841  (of the same storage)
        tensor.add_(1)
        assert live.now == 4000
        other = tensor + 1
        assert live.now == live.peak == 8000
        del other
        gc.collect()
        assert (live.now, live.peak) == (4000, 8000)
