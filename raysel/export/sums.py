"""SHA-256 digests of a model's files, beside them: what is handed over is what was written.

The file is that of `sha256sum`, so that `sha256sum -c SHA256SUMS` checks a model without raysel.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from raysel.common.user_files import MIB, irregular, read_regular, reason

FILE = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path) -> None:
    """Write the digests of all files that a folder holds now."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [(path.relative_to(folder).as_posix(), path) for path in files if path.name != FILE]
    text = "".join(f"{_sha256(path)}  {name}\n" for name, path in named)
    (folder / FILE).write_text(text, encoding="utf-8")


def altered(folder: Path) -> str | None:
    """Which file of a model is not the one that was written, and why; None where all are.

    A model of a raysel that kept no digests has none: nothing is known of it.
    """
    try:
        lines = read_regular(folder / FILE, MIB).decode("utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return f"{FILE} cannot be read: {reason(error)}"
    found = [_LINE.fullmatch(line) for line in lines]
    if not found or None in found:
        return f"{FILE} is damaged"
    return next((why for m in found if m and (why := _differs(folder / m[2], m[1], m[2]))), None)


def _differs(file: Path, digest: str, name: str) -> str | None:
    try:
        if kind := irregular(file):
            return f"{name} is {kind}"
        if not file.stat().st_size:
            return f"{name} is empty"
        return None if _sha256(file) == digest else f"{name} is not the file that was written"
    except FileNotFoundError:
        return f"{name} is not there"
    except OSError as error:
        return f"{name} cannot be read: {reason(error)}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(MIB):
            digest.update(piece)
    return digest.hexdigest()
