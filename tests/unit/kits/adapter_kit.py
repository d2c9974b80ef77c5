"""A small transformer with adapters, as a sweep has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysel.models.build import ModelConfig, build
from raysel.models.layers import Partition, partition_of
from raysel.spec.model import AdapterSpec

RANK, CLASSES, SIZE = 4, 4, 32
LORA = AdapterSpec(rank=RANK)
CONFIG = ModelConfig("test_vit", CLASSES, 1, (SIZE, SIZE), adapter=LORA)


def layers_of(config: ModelConfig = CONFIG) -> Partition:
    return partition_of(
        config.name,
        "coarse",
        config.classes,
        config.channels,
        config.head,
        config.image_size,
        config.adapter,
    )


def images(count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, CONFIG.channels, SIZE, SIZE, generator=generator)


def with_tuned_adapters(config: ModelConfig = CONFIG, seed: int = 1) -> nn.Module:
    """A model whose B is not 0, in eval mode."""
    model = build(config, seed).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(images())
    return found
