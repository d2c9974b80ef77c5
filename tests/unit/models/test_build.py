"""Models by name: one way to a fresh head."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition_of
from raysel.models.timm_models import create_model, timm

RESNET = ModelConfig("test_resnet", classes=4, channels=1, image_size=(16, 16))


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in left if torch.equal(left[name], right[name])}


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "resnet10t"])
@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 48)])
def test_a_model_is_built_for_its_images_and_classes(name, channels, size):
    model = build(ModelConfig(name, 7, channels, (size, size)), seed=0)
    assert model.eval()(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_the_seed_decides_every_weight_and_the_callers_random_state_is_kept():
    torch.manual_seed(4)
    before = torch.random.get_rng_state()
    first = _state(build(RESNET, seed=3))
    torch.rand(5)
    second = _state(build(RESNET, seed=3))
    other = _state(build(RESNET, seed=4))
    torch.random.set_rng_state(before)
    assert _same(first, second) == set(first)
    random = {name for name, tensor in first.items() if tensor.ndim > 1}
    assert random and not any(torch.equal(first[name], other[name]) for name in random)
    build(RESNET, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_fresh_head_is_timms_own_and_not_a_reset_one():
    """D5: a ViT's head is drawn by `create_model`: bias exactly 0."""
    head = build(ModelConfig("test_vit", 7, 3, (160, 160)), seed=0).head
    assert torch.equal(head.bias.detach(), torch.zeros(7))
    assert 0.01 < float(head.weight.detach().std()) < 0.03


def test_a_name_that_timm_has_given_up_is_a_note_and_no_warning(recwarn):
    partition = partition_of("tv_resnet34", "coarse", 10)
    build(ModelConfig("tv_resnet34", 2, 3, (32, 32)), seed=0)
    assert not [str(warning.message) for warning in recwarn]
    assert partition.notes == ("timm calls tv_resnet34 resnet34.tv_in1k today",)
    assert not partition_of("resnet34", "coarse", 10).notes


def test_drop_path_is_timms_and_changes_neither_weights_nor_evaluation():
    plain, dropped = build(RESNET, seed=3), build(RESNET, seed=3, drop_path=0.3)
    timms = create_model("test_resnet", num_classes=4, in_chans=1, drop_path_rate=0.3)

    def rates(model):
        return [
            module.drop_prob
            for module in model.modules()
            if isinstance(module, timm.layers.DropPath)
        ]

    assert rates(dropped) == rates(timms) and max(rates(dropped)) == pytest.approx(0.3)
    assert rates(plain) == []
    state = plain.state_dict()
    assert all(torch.equal(tensor, state[n]) for n, tensor in dropped.state_dict().items())
    images = torch.randn(4, 1, 16, 16)
    assert torch.equal(plain.eval()(images), dropped.eval()(images))
    timms.load_state_dict(state)
    outputs = []
    for model in (dropped, timms):
        torch.manual_seed(5)
        outputs.append(model.train()(images))
    assert torch.equal(*outputs)
