"""Files of tensors, safetensors or torch's: read by what they contain, and never a pickled object.

torch's own refusals are not passed on: they say that `weights_only=False` will likely succeed,
which runs whatever code the file holds.
"""

from __future__ import annotations

import glob
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from raysel.common.text import and_more, first_line
from raysel.models.weight_sources import INDEX

_PICKLED = (
    "contains pickled objects, which can run code; only tensor-only checkpoints (a state_dict of"
    " tensors) or safetensors are loaded"
)
_TORCHSCRIPT = "is a TorchScript program; only checkpoints of tensors or safetensors are loaded"


_SHARD = re.compile(r"(.+)-(\d{3,6})-of-(\d{3,6})(\.\w+)")


class NotTensors(ValueError):
    """A file that is not read; its text is what is wrong with it."""


def read_tensor_file(path: Path) -> Any:
    """The content of a file of tensors, on the CPU: a mapping of names, often with others inside.

    Raises:
        NotTensors: it holds something else, or is damaged.
    """
    try:
        if _is_safetensors(path):
            return safetensors.torch.load_file(path)
        # opened here, for torch goes by the ending of a path
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols and of TorchScript
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises exceptions of many types
        raise NotTensors(why_not_read(path, error)) from error


def is_ordered(path: Path) -> bool:
    """Whether a file that was read keeps its tensors in the order in which they were written:
    torch's do, and safetensors sorts them by type and name."""
    return not _is_safetensors(path)


def shards_of(path: Path) -> list[Path]:
    """All files of a checkpoint one of whose files is named `model-00001-of-00003.safetensors`;
    of another one itself.

    Raises:
        NotTensors: not all of them lie there, or it is the index beside them.
    """
    if path.name.endswith(INDEX):
        start = path.name.removesuffix(INDEX).rpartition(".")[0]
        shards = sorted(path.parent.glob(f"{glob.escape(start)}-*-of-*"))
        hint = f": {shards[0].name}" if shards else ""
        raise NotTensors(f"is an index; give one of the files it lists, all are then read{hint}")
    found = _SHARD.fullmatch(path.name)
    if found is None:
        return [path]
    start, number, of, end = found.groups()
    count, digits = min(int(of), 10_000), len(number)
    files = [path.with_name(f"{start}-{n:0{digits}d}-of-{of}{end}") for n in range(1, count + 1)]
    missing = [file.name for file in files if not file.is_file()]
    if missing and path.is_file():
        raise NotTensors(f"is one of {count} files; missing beside it: {and_more(missing)}")
    return [path] if missing else files


def why_not_read(path: Path, error: Exception) -> str:
    """What is wrong with a file that `torch.load` or safetensors refused, by its content."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    try:
        return _by_content(path, error)
    except OSError as other:
        return f"cannot be read: {other.strerror}"


def _by_content(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        return "is empty (0 bytes)"
    if zipfile.is_zipfile(path):
        names = [Path(name).name for name in zipfile.ZipFile(path).namelist()]
        if "constants.pkl" in names:
            return _TORCHSCRIPT
        if "data.pkl" not in names:
            return "is a zip archive and no torch checkpoint"
    elif start.startswith(b"PK"):
        return "is cut off or damaged: the end of the archive is missing"
    elif not start.startswith(b"\x80"):  # a pickle's first byte
        if _is_safetensors(path):
            return f"is a damaged safetensors file: {first_line(error)}"
        return "is not a file of tensors: neither safetensors nor a torch checkpoint"
    if "weights_only" in str(error):
        return _PICKLED
    return f"is damaged: {first_line(error)}"


def _is_safetensors(path: Path) -> bool:
    """By its content: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and not start.startswith((b"PK", b"\x80"))
