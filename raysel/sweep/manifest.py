"""The environment of a sweep: versions, machine, command, git commit."""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import raysel
from raysel.common.user_files import MIB, read_regular

GIT_SHA = "RAYSEL_GIT_SHA"
"""The environment variable in which `raysel submit` sends the commit: a job has no repository."""

SENT_AS = "RAYSEL_SENT_AS"
"""The environment variable in which `raysel submit` sends the id under which it sent the sweep."""

PACKAGES = ("ray", "torch", "torchvision", "timm", "optuna", "mlflow", "numpy")
"""Packages on whose versions a result depends, besides raysel."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on, those that bring strategies
    among them."""
    from raysel.strategies.registry import packages  # noqa: PLC0415  # it imports torch

    found = {"python": platform.python_version(), "raysel": raysel.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found | packages()


def manifest() -> dict[str, Any]:
    """The content of `manifest.json`; `sent_as` exists for a job's sweep only."""
    sent_as = os.environ.get(SENT_AS)
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "command": " ".join(sys.argv),
        "git_sha": os.environ.get(GIT_SHA) or git_sha(),
        **({"sent_as": sent_as} if sent_as else {}),
    }


def kept(file: Path) -> dict[str, Any]:
    """The content of a sweep's `manifest.json`; empty if it cannot be read."""
    try:
        found = json.loads(read_regular(file, MIB))
    except Exception:  # none, or damaged
        return {}
    return found if isinstance(found, dict) else {}


def first_manifest(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What a sweep began with: what its record has of that, which a lost file is written from, or
    what is now; and under which id it was sent, of the last job."""
    own = {key: now[key] for key in ("sent_as",) if key in now}
    return {**(recorded or now), **own}


def manifest_problem(file: Path, recorded: Mapping[str, Any]) -> str | None:
    """What is wrong with a sweep's `manifest.json`, in words that follow its name; None where
    nothing is, or where the record cannot replace it."""
    if not recorded or kept(file):
        return None
    return "is damaged" if file.exists() else "is not there"


def new_sweep_id(name: str) -> str:
    """The sweep's name and six random digits: a sweep that is deleted and run anew is another
    one, so that its runs in MLflow do not mix with the old ones.
    """
    return f"{name}-{secrets.token_hex(3)}"


def git_sha() -> str | None:
    """The commit of the working folder; None outside a repository."""
    try:
        ran = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip() or None
