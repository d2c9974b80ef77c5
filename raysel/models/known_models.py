"""What a sweep file's check asks of a timm model, remembered once it was found.

The layers of a model and what timm says of its input and weights follow from its name, the
question, and the versions of timm, torch and raysel. So they are kept in the user's cache, and
whoever asks again waits for neither torch nor timm. Where timm is loaded already it is asked
itself: a file of the user's own may have given it another model of that name. A file that is
damaged or of other versions is ignored and made anew; one that cannot be written is not.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from raysel.common.locations import user_cache
from raysel.models.partition_types import Head, Partition, Rule
from raysel.spec.model import AdapterSpec
from raysel.tasks.model_input import ModelInput

Found = TypeVar("Found")


@dataclass(frozen=True)
class WeightsPlace:
    """Where timm has a model's weights: on the Hugging Face hub, or at an address."""

    hub_id: str | None = None
    hub_file: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class ModelFacts:
    """What timm says of a model by its name.

    Attributes:
        input: what it expects of a picture.
        has_weights: whether timm has weights for it.
        place: where they are to be had; None where they are here, or there are none.
        notes: what a user should know of it, in sentences.
    """

    input: ModelInput
    has_weights: bool
    place: WeightsPlace | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Computation:
    """Of one image; None where it cannot be counted."""

    multiply_adds: int | None


def partition_of(
    name: str,
    rule: Rule,
    classes: int,
    channels: int = 3,
    head: Head = "linear",
    image_size: tuple[int, int] | None = None,
    adapter: AdapterSpec | None = None,
) -> Partition:
    """`raysel.models.layers.partition_of`, remembered; what it refuses is not."""
    question = (name, rule, classes, channels, head, image_size)
    given = () if adapter is None else (adapter,)
    asked = (*question, *(one.model_dump(mode="json") for one in given))

    def ask() -> Partition:
        from raysel.models import layers  # noqa: PLC0415  (slow)

        return layers.partition_of(*question, *given)

    return _remembered(Partition, "partition", asked, ask)


def multiply_adds_of(
    name: str,
    classes: int,
    channels: int = 3,
    head: Head = "linear",
    image_size: tuple[int, int] | None = None,
) -> int | None:
    """`raysel.models.multiply_adds.multiply_adds_of`, remembered."""
    question = (name, classes, channels, head, image_size)

    def ask() -> _Computation:
        from raysel.models import multiply_adds  # noqa: PLC0415  (slow)

        return _Computation(multiply_adds.multiply_adds_of(*question))

    return _remembered(_Computation, "multiply-adds", question, ask).multiply_adds


def facts_of(name: str) -> ModelFacts:
    """What timm says of a model; of an unknown one, what is usual.

    Raises:
        UserError: it has no weights of the tag in the model's name (path `model.name`).
    """

    return _remembered(ModelFacts, "facts", (name,), lambda: _facts(name))


def _facts(name: str) -> ModelFacts:
    from raysel.models import custom_models, timm  # noqa: PLC0415  (slow)
    from raysel.models.data_config import model_input  # noqa: PLC0415
    from raysel.models.shapes import check_tag  # noqa: PLC0415

    check_tag(name)
    known, place = timm.models.get_pretrained_cfg(name, allow_unregistered=True), None
    elsewhere = known is not None and not (known.file or known.state_dict)
    if elsewhere and (known.hf_hub_id or known.url):
        place = WeightsPlace(known.hf_hub_id, known.hf_hub_filename, known.url)
    return ModelFacts(
        input=model_input(name),
        has_weights=timm.models.is_model_pretrained(name),
        place=place,
        notes=tuple(custom_models.notes(name)),
    )


# --- the user's cache ----------------------------------------------------------------------------


def _remembered(
    kind: type[Found], what: str, question: tuple[Any, ...], ask: Callable[[], Found]
) -> Found:
    """The answer of the cache, else that of `ask`, which is kept."""
    asked = {"what": what, "question": json.loads(json.dumps(question)), **_versions()}
    file = _file(asked)
    known = _read(file, asked, kind)
    if known is not None and not _is_timm_loaded():
        return known
    found = ask()
    if known is None and _is_of_timm(question[0]):
        _write(file, {"asked": asked, "found": asdict(found)})  # type: ignore[call-overload]
    return found


def _is_timm_loaded() -> bool:
    return "timm" in sys.modules


def _is_of_timm(name: str) -> bool:
    from raysel.models import custom_models, timm  # noqa: PLC0415

    return timm.is_model(name) and not custom_models.is_custom(name)


@functools.cache
def _versions() -> Mapping[str, str]:
    """What an answer depends on beside the question: the libraries, and this folder's own code."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    versions = {library: metadata.version(library) for library in ("timm", "torch")}
    with contextlib.suppress(metadata.PackageNotFoundError):
        versions["peft"] = metadata.version("peft")
    return {**versions, "raysel": code.hexdigest()[:16]}


def _file(asked: Mapping[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]
    return user_cache() / "models" / f"{key}.json"


def _read(file: Path, asked: Mapping[str, Any], kind: type[Found]) -> Found | None:
    try:
        status = file.stat()
        version = status.st_mtime_ns, status.st_size
        kept_asked, found = _parsed(file, version, kind)  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return cast("Found", found) if kept_asked == asked else None


@functools.lru_cache(maxsize=64)
def _parsed(file: Path, version: tuple[int, int], kind: Any) -> tuple[Any, Any]:
    """What a file holds: the question and the answer. A check of a sweep file asks many times."""
    kept = json.loads(file.read_text(encoding="utf-8"))
    return kept["asked"], TypeAdapter(kind).validate_python(kept["found"])


def _write(file: Path, kept: Mapping[str, Any]) -> None:
    """Write the file whole or not at all."""
    partial = None
    with contextlib.suppress(OSError):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=file.parent, suffix=".partial")
            with os.fdopen(handle, "w", encoding="utf-8") as new:
                json.dump(kept, new, ensure_ascii=False)
            Path(partial).replace(file)
            partial = None
        finally:
            if partial is not None:
                Path(partial).unlink(missing_ok=True)
