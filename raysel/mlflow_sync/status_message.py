"""Status messages of the MLflow exporter to its driver: one JSON object a line on stdout."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class StatusMessage:
    """One line.

    Attributes:
        stuck: whether the last try failed.
        lasting: whether the user has to act before it can work again.
        text: message for the user; None if it was reported before.
    """

    stuck: bool
    lasting: bool = False
    text: str | None = None

    def line(self) -> bytes:
        """The encoded line."""
        return json.dumps(asdict(self)).encode() + b"\n"


def read(line: bytes) -> StatusMessage | None:
    """Parse one status line; None if the line is third-party output."""
    try:
        return StatusMessage(**json.loads(line))
    except (ValueError, TypeError):
        return None
