"""What `model.weights` of a sweep file means, and whether timm's weights can be had here (in the
user's cache, or one request away). No model is made and no file of weights is read."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from raysel.models.known_models import WeightsPlace, facts_of

SUFFIXES = (".safetensors", ".pt", ".pth", ".tar", ".bin", ".ckpt")
"""Files that may hold weights."""

SECONDS = 5.0
"""How long the hub may take to answer."""

_FILES = ("model.safetensors", "pytorch_model.bin")

WHAT_TO_WRITE = (
    "write model.weights: PATH (a file of weights) or model.weights: source (trained on the"
    " source part), or fetch them where there is a network and set HF_HOME to that cache"
)


def names_weights(value: str) -> bool:
    """Whether `model.weights` names a file, be it there or not."""
    return Path(value).suffix in SUFFIXES


def why_not_available(name: str) -> str | None:
    """Why timm's weights of a model cannot be had here, and what to write; None if they can, or
    if timm has none (which is reported elsewhere). Nothing is downloaded.
    """
    place = facts_of(name).place
    reason = None if place is None else _why_not(place)
    return reason and f"timm's weights of {name} cannot be fetched ({reason}); {WHAT_TO_WRITE}"


def _why_not(place: WeightsPlace) -> str | None:
    import huggingface_hub  # noqa: PLC0415  (slow)

    if place.hub_id:
        repository, _, revision = place.hub_id.partition("@")
        files = (place.hub_file,) if place.hub_file else _FILES
        cached = (
            huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
            for file in files
        )
        if any(isinstance(path, str) for path in cached):
            return None
        address = huggingface_hub.hf_hub_url(repository, files[0], revision=revision or None)
    else:
        import torch  # noqa: PLC0415  (slow; few models are not on the hub)

        address = str(place.url)
        name = Path(urlparse(address).path).name
        if (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file():
            return None
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return "HF_HUB_OFFLINE is set, and the cache does not have them"
    return _why_silent(address)


def _why_silent(address: str) -> str | None:
    """Why the server does not answer; a refusal is an answer too."""
    try:
        urlopen(Request(address, method="HEAD"), timeout=SECONDS).close()
    except OSError as error:
        if getattr(error, "code", None) is not None:
            return None
        return f"{urlparse(address).netloc} does not answer: {getattr(error, 'reason', error)}"
    return None
