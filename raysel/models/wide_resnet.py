"""Wide residual networks for 32-pixel images, as the automatic and the surgical paper tune them.

Zagoruyko and Komodakis, "Wide Residual Networks" (2016): depth 6 n + 4, three blocks of n
pre-activation units with 16 k, 32 k and 64 k channels. Modules are named as in the public
checkpoints of the robustness benchmarks (`block1.layer.0.convShortcut.weight`), which thus
load unchanged; RobustBench's `Standard` is WRN-28-10 and takes images in [0, 1] without a mean
or deviation (`task.preprocess: unit`).

The models are entered into timm's registry, so they are built, cut and saved like its own.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional

_SIZE = 32


class WideResNet(nn.Module):
    """A pre-activation network of `depth` convolutions, `width` times as wide as a ResNet."""

    def __init__(self, depth: int, width: int, num_classes: int = 10, in_chans: int = 3) -> None:
        """
        Raises:
            ValueError: no whole number of units a block.
        """
        super().__init__()
        units, rest = divmod(depth - 4, 6)
        if rest or units < 1:
            raise ValueError(f"the depth must be 6 n + 4, not {depth}")
        channels = [16, 16 * width, 32 * width, 64 * width]
        self.num_classes, self.num_features = num_classes, channels[3]
        self.pretrained_cfg = _facts(f"cifar_wrn_{depth}_{width}", num_classes, in_chans)
        self.conv1 = nn.Conv2d(in_chans, channels[0], 3, padding=1, bias=False)
        self.block1 = _Block(units, channels[0], channels[1], stride=1)
        self.block2 = _Block(units, channels[1], channels[2], stride=2)
        self.block3 = _Block(units, channels[2], channels[3], stride=2)
        self.bn1 = nn.BatchNorm2d(channels[3])
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(channels[3], num_classes)
        self._initialise()

    def forward_features(self, x: Tensor) -> Tensor:
        """From images [n, c, h, w] to [n, 64 k, h / 4, w / 4]."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.relu(self.bn1(x))

    def forward_head(self, x: Tensor) -> Tensor:
        """From features to logits [n, num_classes]; any image size."""
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))

    def forward(self, x: Tensor) -> Tensor:
        """From images [n, c, h, w] to logits [n, num_classes]."""
        return self.forward_head(self.forward_features(x))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """timm's way to say which parameters are a layer: the stem, a block or unit each."""
        units = [(r"^block(\d+)", None)] if coarse else [(r"^block(\d+)\.layer\.(\d+)", None)]
        return {"stem": r"^conv1", "blocks": [*units, (r"^bn1", (99999,))]}

    def get_classifier(self) -> nn.Module:
        """The module that gives the logits."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Another number of classes, with fresh weights."""
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes)

    def _initialise(self) -> None:
        """He's normal over the outputs for convolutions; a zero bias for the classifier."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)


class _Block(nn.Module):
    """Units of one width; the first takes the stride."""

    def __init__(self, units: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        rest = (_Unit(outputs, outputs, 1) for _ in range(units - 1))
        self.layer = nn.Sequential(_Unit(inputs, outputs, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class _Unit(nn.Module):
    """Norm, ReLU, convolution, twice, beside an identity.

    Where the width changes, the shortcut is a 1x1 convolution that sees the activated input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.convShortcut = (
            None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        return shortcut + self.conv2(self.relu2(self.bn2(self.conv1(active))))


def _wide_resnet(depth: int, width: int, arguments: dict[str, Any]) -> WideResNet:
    """Of timm's arguments only the classes and the channels are meant for it."""
    if arguments.get("pretrained"):
        raise RuntimeError(f"no weights of WRN-{depth}-{width} can be fetched; give a file")
    chosen = {name: arguments[name] for name in ("num_classes", "in_chans") if name in arguments}
    return WideResNet(depth, width, **chosen)


def _facts(name: str, classes: int, channels: int) -> dict[str, Any]:
    """timm's data config."""
    return {
        "architecture": name,
        "num_classes": classes,
        "input_size": (channels, _SIZE, _SIZE),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "first_conv": "conv1",
        "classifier": "fc",
    }


_SHAPES = ("28_10", "16_2", "16_1", "10_2")
default_cfgs = {name: _facts(name, 10, 3) for name in (f"cifar_wrn_{x}" for x in _SHAPES)}
"""What timm's registry gives before a model is built: that they take 32 pixels, not 224."""


@register_model
def cifar_wrn_28_10(**arguments: Any) -> WideResNet:
    """WRN-28-10: 36,479,194 parameters with 10 classes."""
    return _wide_resnet(28, 10, arguments)


@register_model
def cifar_wrn_16_2(**arguments: Any) -> WideResNet:
    """WRN-16-2: 691,674 parameters with 10 classes."""
    return _wide_resnet(16, 2, arguments)


@register_model
def cifar_wrn_16_1(**arguments: Any) -> WideResNet:
    """WRN-16-1: 175,066 parameters with 10 classes."""
    return _wide_resnet(16, 1, arguments)


@register_model
def cifar_wrn_10_2(**arguments: Any) -> WideResNet:
    """WRN-10-2: 303,706 parameters with 10 classes."""
    return _wide_resnet(10, 2, arguments)
