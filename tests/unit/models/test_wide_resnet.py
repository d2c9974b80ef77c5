"""Wide residual networks against the definition: sizes, names, and one unit by hand."""

import pytest
import torch
from torch.nn import functional

from raysel.models.data_config import model_input
from raysel.models.layers import partition, shapes_of
from raysel.models.wide_resnet import WideResNet


def sizes(module):
    return sum(p.numel() for p in module.parameters())


def test_wrn_28_10_has_the_sizes_of_the_public_checkpoint():
    """Counted on RobustBench's `Standard`."""
    model = shapes_of("cifar_wrn_28_10", 10)
    found = {name: sizes(child) for name, child in model.named_children() if sizes(child)}
    assert found == {
        "conv1": 432,
        "block1": 1_640_672,
        "block2": 6_968_000,
        "block3": 27_862_400,
        "bn1": 1_280,
        "fc": 6_410,
    }
    assert sizes(model) == 36_479_194


@pytest.mark.parametrize(
    ("name", "size"), [("16_2", 691_674), ("16_1", 175_066), ("10_2", 303_706)]
)
def test_the_small_ones_have_their_sizes(name, size):
    assert sizes(shapes_of(f"cifar_wrn_{name}", 10)) == size


def test_the_layers_are_the_stem_the_blocks_and_the_head():
    model = shapes_of("cifar_wrn_16_2", 10)
    coarse = partition(model)
    assert coarse.names == ("stem", "block1", "block2", "block3", "head")
    assert coarse.head == ("fc.weight", "fc.bias")
    assert "bn1.weight" in coarse.layers[-1].parameters
    assert partition(model, "fine").names[1:3] == ("block1.layer.0", "block1.layer.1")


@pytest.mark.parametrize("size", [32, 48])
def test_it_strides_twice_and_takes_any_image(size):
    model = WideResNet(10, 1, num_classes=7, in_chans=1).eval()
    features = model.forward_features(torch.zeros(2, 1, size, size))
    assert features.shape == (2, 64, size // 4, size // 4)
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_a_unit_activates_before_it_convolves_and_shortcuts_what_is_activated():
    model = WideResNet(10, 2).eval()
    unit, x = model.block2.layer[0], torch.randn(2, 32, 8, 8)
    active = functional.relu(functional.batch_norm(x, torch.zeros(32), torch.ones(32)))
    inner = functional.conv2d(active, unit.conv1.weight, stride=2, padding=1)
    inner = functional.relu(functional.batch_norm(inner, torch.zeros(64), torch.ones(64)))
    expected = functional.conv2d(inner, unit.conv2.weight, padding=1)
    expected = expected + functional.conv2d(active, unit.convShortcut.weight, stride=2)
    torch.testing.assert_close(unit(x.clone()), expected)


def test_a_unit_of_one_width_adds_what_it_was_given():
    unit = WideResNet(16, 1).eval().block1.layer[1]
    x = torch.randn(2, 16, 8, 8)
    torch.nn.init.zeros_(unit.conv2.weight)
    torch.testing.assert_close(unit(x.clone()), x)


def test_another_depth_is_refused():
    with pytest.raises(ValueError, match="6 n \\+ 4"):
        WideResNet(27, 10)


@pytest.mark.parametrize("name", ["cifar_wrn_28_10", "cifar_wrn_16_2", "cifar_wrn_16_1"])
def test_its_pictures_have_32_pixels_and_plain_values(name):
    wanted = model_input(name)
    assert (wanted.size, wanted.mean, wanted.std) == (32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert wanted.crop_share == 1.0
