"""Whether the package that makes adapters is here; asked without importing it, which takes
seconds."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGE = "peft"


def why_no_adapters() -> str | None:
    """Why there are no adapters on this machine, and what to do; None where there are."""
    if find_spec(PACKAGE) is not None:
        return None
    return f'lora needs the package {PACKAGE}: pip install "raysel[lora]"'
