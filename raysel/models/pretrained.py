"""timm's pretrained weights: fetched once for a sweep and not once a trial."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from raysel.common.errors import OperationalError
from raysel.models.build import ModelConfig, build
from raysel.models.timm_models import timm
from raysel.models.weight_sources import what_to_write


def pretrained_weights(model_config: ModelConfig) -> dict[str, Tensor]:
    """The weights that timm has for a model, its own classifier among them.

    They come from the user's cache of the Hugging Face hub, or from the hub.

    Raises:
        OperationalError: neither has them; raised within a minute.
    """
    known = timm.models.get_pretrained_cfg(model_config.name, allow_unregistered=True)
    classes = known.num_classes if known is not None else model_config.classes
    own = ModelConfig(model_config.name, classes, model_config.channels, model_config.image_size)
    try:
        with _quiet_hub():
            return dict(build(own, seed=0, pretrained=True).state_dict())
    except Exception as error:  # timm raises exceptions of many types
        words = " ".join(str(_root(error)).split())
        raise OperationalError(
            "model.weights",
            f"timm's weights of {model_config.name} cannot be fetched ({words[:200]});"
            f" {what_to_write(model_config.name)}",
        ) from error


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Hide the warnings of every try: they would bury the one line that explains the error."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _root(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
