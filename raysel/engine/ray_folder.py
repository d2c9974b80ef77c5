"""The folder in which Ray keeps its sockets and logs on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from raysel.common.errors import user_error
from raysel.common.user_files import why_not_made

_SOCKET = "ray/session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
"""The longest path that Ray makes for a socket there."""

MOST_BYTES = 107 if sys.platform.startswith("linux") else 103
"""Of a socket's path: the operating system's limit."""


def check_ray_folder(environment: Mapping[str, str]) -> None:
    """Refuse a folder for temporary files in which Ray could not start.

    Raises:
        UserError: it is too long for sockets, relative, or cannot be made or written; with what to
            set.
    """
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in environment else "TMPDIR"
    folder = environment.get(name, "/tmp")
    if wrong := _problem(folder):
        raise user_error(name, f'"{folder}" {wrong}; set RAY_TMPDIR=/tmp, or another short folder')


def _problem(folder: str) -> str | None:
    if not folder.startswith("/"):
        return "is no absolute path, which Ray needs for its sockets"
    longest = len(os.fsencode(f"{folder.rstrip('/')}/{_SOCKET.format(pid=os.getpid())}"))
    if longest > MOST_BYTES:
        return f"is {longest - MOST_BYTES} bytes too long for Ray's sockets"
    why = why_not_made(Path(folder) / "ray")
    return why and f"cannot hold Ray's files: {why}"
