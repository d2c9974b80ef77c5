"""The files on this machine that a cluster file names: the key, the token, what is mounted."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysel.service.doctor.checks.token import GENERATE
from raysel.service.doctor.finding import Finding, error, ok, warning


def check_paths(config: Mapping[str, Any]) -> list[Finding]:
    """Whether they are there, and closed to others where they are secrets.

    `ray up` reads a relative path from the folder in which it is called, and so do we.
    """
    found = _of_key((config.get("auth") or {}).get("ssh_private_key"))
    for source in (config.get("file_mounts") or {}).values():
        found += _of_mount(str(source))
    return found or [ok("files", "key and mounted files are here")]


def _of_key(given: str | None) -> list[Finding]:
    if given is None:
        return []
    path = Path(given).expanduser()
    if not path.is_file():
        remedy = f"ssh-keygen -t ed25519 -f {given}, then ssh-copy-id -i {given} to every node"
        return [error("ssh", f"auth.ssh_private_key: there is no file {given}", remedy)]
    if _open(path):
        words = f"{given} can be read by others: ssh refuses such a key"
        return [error("ssh", words, f"chmod 600 {given}")]
    return []


def _of_mount(source: str) -> list[Finding]:
    path = Path(source).expanduser()
    token = path.name == "auth_token"
    if not path.exists():
        remedy = GENERATE if token else "Make it, or take it out of file_mounts"
        return [error("files", f"file_mounts: there is no {source} on this machine", remedy)]
    if token and _open(path):
        return [warning("token", f"{source} can be read by others", f"chmod 600 {source}")]
    return []


def _open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
