"""Which modules train: docs/algorithms.md, D4."""

from __future__ import annotations

import pytest
from torch import nn
from trial_kit import tiny

from raysel.models import timm
from raysel.training.modes import set_training_mode


def _freeze(model: nn.Module, *trainable: str) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trainable))


def _modes(model: nn.Module, kind: type[nn.Module] = nn.Module) -> dict[str, bool]:
    return {name: m.training for name, m in model.named_modules() if isinstance(m, kind)}


def test_train_is_everything_whether_it_moves_or_not():
    model = tiny().eval()
    _freeze(model, "head")
    set_training_mode(model, "train", 8)
    assert all(_modes(model).values())


def test_eval_is_nothing():
    model = tiny()
    set_training_mode(model, "eval", 8)
    assert not any(_modes(model).values())


def test_frozen_eval_rests_what_cannot_move_with_its_dropout():
    model = tiny()
    _freeze(model, "block", "head")
    set_training_mode(model, "frozen_eval", 8)
    assert _modes(model, nn.BatchNorm2d) == {"stem.1": False, "block.1": True}
    assert _modes(model, nn.Dropout) == {"body.2": False}  # `body` is frozen
    _freeze(model, "body")
    set_training_mode(model, "frozen_eval", 8)
    assert _modes(model, nn.BatchNorm2d) == {"stem.1": False, "block.1": False}
    assert _modes(model, nn.Dropout) == {"body.2": True}


def test_frozen_eval_with_everything_movable_is_train():
    model = tiny()
    set_training_mode(model, "frozen_eval", 8)
    assert all(_modes(model).values())


@pytest.mark.parametrize("name", ["test_resnet", "resnet10t", "test_convnext", "test_vit"])
def test_norms_are_known_by_their_type_and_not_by_their_name(name):
    """A ResNet's shortcut norm is `downsample.1`, a ViT's is `norm`."""
    model = timm.create_model(name, num_classes=4)
    head = model.pretrained_cfg["classifier"]
    _freeze(model, head)
    set_training_mode(model, "frozen_eval", 8)
    norms = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
    assert not any(m.training for m in model.modules() if isinstance(m, norms))
    assert model.get_submodule(head).training


@pytest.mark.parametrize("mode", ["train", "frozen_eval"])
def test_batch_norm_rests_where_a_batch_is_one_image(mode):
    model = tiny()
    set_training_mode(model, mode, 1)
    assert not any(_modes(model, nn.BatchNorm2d).values())
    assert all(_modes(model, nn.Dropout).values())


def test_the_mode_is_set_anew_each_time():
    """timm's own loops call `model.train()` in between."""
    model = tiny()
    _freeze(model, "head")
    for _ in range(2):
        set_training_mode(model, "frozen_eval", 8)
        assert _modes(model, nn.BatchNorm2d) == {"stem.1": False, "block.1": False}
        model.train()
    _freeze(model, "stem")
    set_training_mode(model, "frozen_eval", 8)
    assert _modes(model, nn.BatchNorm2d) == {"stem.1": True, "block.1": False}
