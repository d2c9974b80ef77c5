"""What the MLflow writer says to its driver: a JSON object on a line of its standard output."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class StatusMessage:
    """One line.

    Attributes:
        stuck: whether the last try failed.
        lasting: whether it will hardly mend itself.
        text: what a person shall read; None where they have read it before.
    """

    stuck: bool
    lasting: bool = False
    text: str | None = None

    def line(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"


def read(line: bytes) -> StatusMessage | None:
    """Parse one status line; None if the line is third-party output."""
    try:
        return StatusMessage(**json.loads(line))
    except (ValueError, TypeError):
        return None
