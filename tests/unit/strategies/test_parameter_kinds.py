"""Norms, biases, attention or MLPs alone: what moves, and that a model without is refused."""

import re

import pytest
import torch
from every_strategy_kit import CLASSES, build, data, tensors, trial

from raysel import LayerwiseSGD
from raysel.common.errors import UserError
from raysel.models.known_models import partition_of
from raysel.strategies.registry import strategy_named

# by the names of timm's vision transformer
MOVES = {
    "norm_only": r"(^|\.)norm\d?\.|^head\.",
    "bias_only": r"bias$|^head\.",
    "attention_only": r"\.attn\.|^head\.",
    "mlp_only": r"\.mlp\.|^head\.",
}


@pytest.mark.parametrize("name", MOVES)
def test_nothing_but_these_and_the_classifier_moves(name):
    model = build("test_vit")
    before = tensors(model)
    run = trial(name, model, data(32), optimizer="adamw", weight_decay=0.1)
    run.run_epoch()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    wanted = {n for n, _ in model.named_parameters() if re.search(MOVES[name], n)}
    # the bias of the keys has no effect on a softmax, and the gradient is rounding or nothing
    assert moved <= wanted
    assert {n for n in wanted - moved if not n.endswith("bias")} == set()


def test_the_classifier_is_not_counted_as_a_bias_of_the_model():
    strategy = strategy_named("bias_only")
    layers = partition_of("test_vit", "coarse", CLASSES)
    assert strategy.problem(layers) is None
    assert "head.weight" in strategy(layers, {}).trainable_parameters()


@pytest.mark.parametrize("name", ["attention_only", "mlp_only"])
def test_a_model_without_them_is_refused_in_a_line(name):
    with pytest.raises(UserError, match=f"{name} is linear_probe"):
        LayerwiseSGD(build("test_resnet"), name, lr=0.1)
