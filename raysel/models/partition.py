"""`raysel.partition`: the layers of a model that is given as a module or by timm's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from torch import nn

from raysel.common.errors import nearest, user_error
from raysel.models import layers
from raysel.models.data_config import pretrained_cfg
from raysel.models.forward import Image
from raysel.models.layers import Partition, Rule

_WORDS = get_args(get_args(Rule)[0])
_IMAGENET = 1000


def partition(
    model: nn.Module | str,
    rule: str | Sequence[str] = "coarse",
    *,
    image: Image | None = None,
    classes: int | None = None,
) -> Partition:
    """Cut a model into named layers, as `model.partition` of a sweep file does.

    Args:
        model: a module, or the name of a timm model, of which no weights are made.
        rule: `coarse` or `fine` (timm's groups of layers), `delimiter` (a cut at every max
            pooling, batch norm and activation), or name patterns, one a layer.
        image: channels, height and width of the images; the model's own if not given.
        classes: outputs of the classifier of a model that is given by its name; if not given,
            those of its pretrained weights.

    Raises:
        UserError: there is no such model or rule, or the model cannot be cut so.
    """
    wanted = _rule(rule)
    if isinstance(model, nn.Module):
        return layers.partition(model, wanted, image)
    if classes is None:
        classes = int((pretrained_cfg(model) or {}).get("num_classes") or _IMAGENET)
    if image is None:
        return layers.partition_of(model, wanted, classes)
    channels, height, width = image
    return layers.partition_of(model, wanted, classes, channels, image_size=(height, width))


def _rule(given: str | Sequence[str]) -> Rule:
    if not isinstance(given, str):
        return tuple(given)
    for word in _WORDS:
        if given == word:
            found: Rule = word
            return found
    raise user_error("rule", f'"{given}" is unknown; {nearest(given, _WORDS)}')
