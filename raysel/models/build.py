"""Build a timm model for a task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from raysel.models.data_config import size_arguments
from raysel.models.head import put_mlp_head
from raysel.models.partition_types import Head
from raysel.models.shapes import classifier_paths
from raysel.models.timm_models import create_model


@dataclass(frozen=True)
class ModelConfig:
    """What determines a model but for its weights.

    Attributes:
        name: timm's name.
        classes: outputs of the classifier.
        channels: input channels.
        image_size: height and width.
        head: timm's own linear classifier, or the block-wise paper's of two layers.
    """

    name: str
    classes: int
    channels: int
    image_size: tuple[int, int]
    head: Head = "linear"


def build(
    model_config: ModelConfig, seed: int, pretrained: bool = False, drop_path: float = 0.0
) -> nn.Module:
    """A model with a fresh head (D5: one code path, seeded immediately before).

    Args:
        seed: determines every random initial weight; the caller's random state is kept.
        pretrained: take timm's pretrained weights for all but the head.
        drop_path: timm's `drop_path_rate`; weights and evaluation are the same for any.
    """
    arguments = size_arguments(model_config.name, model_config.image_size)
    if drop_path:
        arguments["drop_path_rate"] = drop_path
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = create_model(
            model_config.name,
            pretrained=pretrained,
            num_classes=model_config.classes,
            in_chans=model_config.channels,
            **arguments,
        )
        if model_config.head == "mlp":
            put_mlp_head(model, classifier_paths(model), model_config.classes)
    return model
