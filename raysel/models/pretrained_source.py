"""Where timm's pretrained weights of a model are: in the user's cache, or one request away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import huggingface_hub
import torch

from raysel.models import timm

SECONDS = 5.0
"""How long the hub may take to answer."""

_FILES = ("model.safetensors", "pytorch_model.bin")

WHAT_TO_WRITE = (
    "write model.weights: PATH (a file of weights) or model.weights: source (trained on the"
    " source part), or fetch them where there is a network and set HF_HOME to that cache"
)


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
