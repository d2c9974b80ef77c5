"""A forward pass from the frozen layers' output gives the logits of the whole model, bit for bit,
wherever it can be cut; where it cannot, that is said or nothing is frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from few_kit import several
from torch import Tensor, nn
from trial_kit import TinyNet, tiny

from raysel.models import timm
from raysel.models.find_prefix import PROBED, checked_prefix
from raysel.models.frozen_prefix import CutModel, NoPrefix
from raysel.models.layers import partition
from raysel.training.modes import set_training_mode

MODELS = [
    ("test_resnet", 64),
    ("test_vit", 160),
    ("test_convnext", 64),
    ("test_efficientnet", 64),
    ("mobilenetv3_small_050", 64),
    ("densenet121", 64),
    ("regnetx_002", 64),
    ("swin_tiny_patch4_window7_224", 224),
    ("deit_tiny_distilled_patch16_224", 224),
    ("eva02_tiny_patch14_224", 224),
]


def _images(size: int, count: int = PROBED, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def _built(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model(name, num_classes=10)


def _freeze_below(model: nn.Module, cut: int) -> None:
    layers = partition(model)
    moving = layers.parameters_of(range(cut, len(layers)))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in moving)


@pytest.mark.parametrize(("name", "size"), several(1, MODELS))
def test_logits_from_every_cut_are_those_of_the_whole_model(name, size):
    model = _built(name)
    count = len(partition(model))
    for cut in range(1, count):
        _freeze_below(model, cut)
        set_training_mode(model, "frozen_eval", 8)
        prefix = checked_prefix(model, model, _images(size))
        assert prefix is not None, cut
        model.eval()
        halves = CutModel(model, prefix, (3, size, size))
        others = _images(size, 7)
        with torch.no_grad():
            stored = halves.frozen_output(model, others)
            assert stored.shape == (7, *prefix.stored_shape)
            assert torch.equal(halves.logits(model, stored.clone()), model(others))


def test_what_is_below_the_cut_is_not_computed():
    model = _built("test_resnet")
    _freeze_below(model, len(partition(model)) - 1)
    model.eval()
    prefix = checked_prefix(model, model, _images(64))
    assert prefix is not None
    halves = CutModel(model, prefix, (3, 64, 64))
    stored = halves.frozen_output(model, _images(64))
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.ReLU | nn.MaxPool2d):
            module.forward = lambda *_, path=path: pytest.fail(path)
    halves.logits(model, stored)


def test_gradients_above_the_cut_are_those_of_the_whole_model():
    model = tiny(dropout=0.0, norm=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("body", "head")))
    prefix = checked_prefix(model, model, _images(8, channels=1))
    assert prefix is not None and prefix.last.startswith("block")
    halves = CutModel(model, prefix, (1, 8, 8))
    images = _images(8, 16, 1)
    found = []
    for run in (
        lambda: model(images),
        lambda: halves.logits(model, halves.frozen_output(model, images)),
    ):
        model.zero_grad()
        run().logsumexp(1).sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == 4
    assert all(map(torch.equal, *found))


def test_batch_statistics_below_leave_no_prefix_and_no_trace():
    model = tiny()
    _freeze_below(model, 2)
    set_training_mode(model, "train", 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert checked_prefix(model, model, _images(8, channels=1)) is None
    assert model.stem[1].training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_dropout_below_leaves_no_prefix():
    model = tiny(dropout=0.5, norm=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    model.train()
    assert checked_prefix(model, model, _images(8, channels=1)) is None
    model.eval()
    assert checked_prefix(model, model, _images(8, channels=1)) is not None


def test_nothing_frozen_is_no_prefix():
    model = tiny(norm=False)
    assert checked_prefix(model, model, _images(8, channels=1)) is None


class _Skips(TinyNet):
    """The head takes the stem's output too: no cut above it is whole."""

    def forward(self, images: Tensor) -> Tensor:
        low = torch.relu(self.stem(images))
        features = torch.relu(self.block(low))
        body = self.body(features.flatten(1))
        return self.head(body + low.flatten(1).mean(1, keepdim=True))


def test_a_cut_that_something_passes_by_is_not_taken():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _Skips(dropout=0.0, norm=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    prefix = checked_prefix(model, model, _images(8, channels=1))
    assert prefix is not None and prefix.last.startswith("stem")


class _ReadsPictures(TinyNet):
    """The logits depend on the pictures themselves, beside all modules."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + images.mean()


def test_a_model_that_cannot_be_cut_says_so():
    model = _ReadsPictures(dropout=0.0, norm=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    with pytest.raises(NoPrefix, match="not those of the whole model"):
        checked_prefix(model, model, _images(8, channels=1))


class _OwnToken(nn.Module):
    """A token of the model's own joins after the first module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 8), nn.Linear(8, 8)
        self.token = nn.Parameter(torch.zeros(8))
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.second(self.first(images.flatten(1)) + self.token)))


@pytest.mark.parametrize(("moving", "last"), [(("head",), "second"), (("token", "head"), "first")])
def test_the_cut_is_below_a_parameter_that_no_module_without_others_owns(moving, last):
    model = _OwnToken()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in moving)
    prefix = checked_prefix(model, model, _images(8, channels=1))
    assert prefix is not None and prefix.last == last


def test_the_same_forward_runs_in_a_context():
    model = tiny(dropout=0.0, norm=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("head"))

    def reduced(images: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits: Tensor = model(images)
        return logits

    forward: Callable[[Tensor], Tensor] = reduced
    prefix = checked_prefix(model, forward, _images(8, channels=1))
    assert prefix is not None and prefix.dtype == torch.bfloat16
