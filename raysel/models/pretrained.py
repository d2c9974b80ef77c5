"""timm's pretrained weights: fetched once for a sweep and not once a trial, and whether they can be
had here (in the user's cache, or one request away)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import huggingface_hub
import torch
from torch import Tensor

from raysel.common.errors import OperationalError
from raysel.models import timm
from raysel.models.build import ModelConfig, build

SECONDS = 5.0
"""How long the hub may take to answer."""

_FILES = ("model.safetensors", "pytorch_model.bin")

WHAT_TO_WRITE = (
    "write model.weights: PATH (a file of weights) or model.weights: source (trained on the"
    " source part), or fetch them where there is a network and set HF_HOME to that cache"
)


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
            f" {WHAT_TO_WRITE}",
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


# --- before a sweep -----------------------------------------------------------------------------


def why_not_available(name: str) -> str | None:
    """Why timm's weights of a model cannot be had here, and what to write; None if they can, or
    if timm has none (which is reported elsewhere). Nothing is downloaded.
    """
    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    if known is None or known.file or known.state_dict:
        return None
    if not known.hf_hub_id and not known.url:
        return None
    reason = _why_not(known)
    return reason and f"timm's weights of {name} cannot be fetched ({reason}); {WHAT_TO_WRITE}"


def _why_not(known: Any) -> str | None:
    if known.hf_hub_id:
        repository, _, revision = known.hf_hub_id.partition("@")
        files = (known.hf_hub_filename,) if known.hf_hub_filename else _FILES
        if any(_is_cached(repository, file, revision or None) for file in files):
            return None
        address = huggingface_hub.hf_hub_url(repository, files[0], revision=revision or None)
    else:
        address = str(known.url)
        name = Path(urlparse(address).path).name
        if (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file():
            return None
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return "HF_HUB_OFFLINE is set, and the cache does not have them"
    return _why_silent(address)


def _is_cached(repository: str, file: str, revision: str | None) -> bool:
    return isinstance(
        huggingface_hub.try_to_load_from_cache(repository, file, revision=revision), str
    )


def _why_silent(address: str) -> str | None:
    """Why the server does not answer; a refusal is an answer too."""
    try:
        urlopen(Request(address, method="HEAD"), timeout=SECONDS).close()
    except OSError as error:
        if getattr(error, "code", None) is not None:
            return None
        return f"{urlparse(address).netloc} does not answer: {getattr(error, 'reason', error)}"
    return None
