"""Build a timm model for a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from raysel.models.adapters import put_adapters
from raysel.models.data_config import size_arguments
from raysel.models.head import put_mlp_head
from raysel.models.partition_types import Head
from raysel.models.shapes import classifier_paths
from raysel.models.timm_models import create_model
from raysel.models.weights import load_weights
from raysel.spec.model import AdapterSpec


@dataclass(frozen=True)
class ModelConfig:
    """What determines a model but for its weights.

    Attributes:
        name: timm's name.
        classes: outputs of the classifier.
        channels: input channels.
        image_size: height and width.
        head: timm's own linear classifier, or the block-wise paper's of two layers.
        adapter: what stands beside its frozen weights; None where these move themselves.
    """

    name: str
    classes: int
    channels: int
    image_size: tuple[int, int]
    head: Head = "linear"
    adapter: AdapterSpec | None = None

    @property
    def plain(self) -> ModelConfig:
        """The model without adapters: what a source model is, and what is exported."""
        return replace(self, adapter=None)


def build(
    model_config: ModelConfig,
    seed: int,
    pretrained: bool = False,
    drop_path: float = 0.0,
    weights: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """A model with a fresh head (D5: one code path, seeded immediately before).

    Args:
        seed: determines every random initial weight; the caller's random state is kept.
        pretrained: take timm's pretrained weights for all but the head.
        drop_path: timm's `drop_path_rate`; weights and evaluation are the same for any.
        weights: by the names of the model without adapters; a classifier that does not fit stays as
            it was drawn.

    Raises:
        UserError: the weights do not fit (`raysel.models.weights.matching_weights`).
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
        if weights is not None:
            load_weights(model, weights)
        if model_config.adapter is not None:  # after all else, which is drawn as without
            put_adapters(model, model_config.adapter)
    return model
