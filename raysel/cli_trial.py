"""The verbs of one trial or one model: finetune, reproduce, export."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
