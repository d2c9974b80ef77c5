"""What may stand for a path: one rule for every key of the sweep file and every option.

raysel opens a path as it stands. What only a shell, a browser or Windows would read is refused,
as it would be taken for a folder of that name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raysel.common.urls import masked, secret_in

A_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
"""The name of a sweep, and so of its folder."""

A_SWEEP = re.compile(rf"{A_NAME.pattern[:-1]}(/{A_NAME.pattern[1:-1]})?$")
"""The same, or that of a cell in a suite: `suite/cell`."""

BESIDE_SWEEPS = ("mlflow.db", "mlartifacts", "mlruns", "comparison")
"""What lies in a storage folder beside the sweeps."""

FINE_TUNED = ".finetune"
"""The ending of the folder in which `raysel finetune` writes, behind the sweep's name."""

MOST_BYTES = 4000
"""Of a path, in UTF-8; Linux takes 4095."""

MOST_BYTES_OF_A_NAME = 255
"""Of a file's or a folder's name."""

_VARIABLE = re.compile(r"\$(?:\{\w*\}?|\(|\w+)|^%\w+%")
_WINDOWS = re.compile(r"^[A-Za-z]:([\\/]|$)|^\\\\|^[^/]*\\[^/]*$")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/|^(file|s3|gs|gcs|https?):", re.IGNORECASE)
_STORES = {"gcs": "gs", "s3a": "s3", "s3n": "s3", "S3": "s3", "GS": "gs"}


def is_text(path: str) -> bool:
    """Whether a path of the system is UTF-8, as the address of a database must be."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(text: str) -> str:
    """A path as every reader takes it alike: `//tmp/x/./runs/` is `/tmp/x/runs`.

    POSIX leaves open what two slashes at the beginning mean, and `pathlib` keeps them; Arrow takes
    such a path for a URI.
    """
    return str(Path("/" + text.lstrip("/") if text.startswith("//") else text))


def file_beside(text: str, words: Collection[str]) -> str:
    """`plain`, but a path that would then be one of the words keeps what makes it a path: the file
    `./pretrained` is not the word `pretrained`."""
    path = plain(text)
    return f"./{path}" if path in words else path


def path_problem(text: str) -> str | None:
    """What is wrong with the path of a file or folder on this machine; nothing is looked up."""
    if wrong := _spelling(text):
        return wrong
    if found := _SCHEME.match(text):
        scheme = (found[1] or found[2]).lower()
        if scheme == "file" and not secret_in(text):
            return f"is a URL; give the path alone ({unquote(urlsplit(text).path) or '/'})"
        return f"is a URL ({scheme}:) and no path of a file or folder"
    return _length(text)


def storage_problem(text: str) -> str | None:
    """What is wrong with `storage`: a path, or `s3://bucket/folder`, `gs://bucket/folder`."""
    found = _SCHEME.match(text)
    if found is None or found[0].lower().startswith("file:"):
        return path_problem(text)
    if wrong := _spelling(text):
        return wrong
    scheme = found[1] or found[2]
    if scheme not in ("s3", "gs") or not text.startswith(f"{scheme}://"):
        meant = _STORES.get(scheme, scheme)
        if meant in ("s3", "gs"):
            rest = text[len(scheme) + 1 :].lstrip("/")
            return f"give {meant}://{masked(rest)}"
        return f"{scheme}: is not a storage address; give a folder, s3://bucket/folder or gs://bucket/folder"
    return _length(text)


def name_problem(text: str) -> str | None:
    """What is wrong with the name of a sweep that is looked up: it is one folder's name, or for a
    cell of a suite `suite/cell`."""
    if wrong := _spelling(text):
        return wrong
    if text in (".", "..") or ("/" in text and not A_SWEEP.fullmatch(text)):
        return is_a_path(text)
    return _length(text)


def taken_name(name: str) -> str | None:
    """What is said of a sweep's name that something else has in the storage folder; None if
    nothing has.

    Args:
        name: of a sweep, or of a cell `suite/cell`.
    """
    folder = name.partition("/")[0]
    lower = folder.lower()  # some file systems take both spellings for one
    if lower.endswith(FINE_TUNED):
        return f"{FINE_TUNED} at its end is for the folders of raysel finetune; leave it out"
    if lower in BESIDE_SWEEPS or lower.startswith("mlflow.db-"):  # and SQLite's own beside it
        return f'raysel keeps "{folder}" beside the sweeps; choose another name, as my-{folder}'
    return None


def is_a_path(text: str) -> str:
    """What is said of a path in the place of a sweep's name."""
    name = text.rstrip("/").rpartition("/")[2]
    hint = "" if name in ("", ".", "..") else f' ("{name}"), and its folder to --storage'
    return f"is a path; give the sweep's name{hint}"


def _spelling(text: str) -> str | None:
    if not text.strip():
        return "is empty"
    if odd := next((c for c in text if unicodedata.category(c) in ("Cc", "Cs")), None):
        return f"holds the control character #x{ord(odd):02x}"
    if text != text.strip():
        return "begins or ends with a space"
    if text.startswith("~"):
        rest = text.partition("/")[2] or "runs"
        return f"only a shell reads ~; give the whole path (/home/you/{rest})"
    if found := _VARIABLE.search(text):
        rest = text.partition("/")[2] or "runs"
        return f"only a shell reads {found[0]}; give the whole path (/home/you/{rest})"
    if _WINDOWS.search(text):
        return "is a path of Windows; give one with / (/home/you/runs; under WSL /mnt/c/…)"
    return None


def _length(text: str) -> str | None:
    longest = max(len(name.encode()) for name in text.split("/"))
    if longest > MOST_BYTES_OF_A_NAME:
        return f"a name in it has {longest:,} bytes; {MOST_BYTES_OF_A_NAME} at most"
    if (size := len(text.encode())) > MOST_BYTES:
        return f"has {size:,} bytes; {MOST_BYTES:,} at most"
    return None
