"""What the types of `results.json` share: numbers that may be missing, and the frozen base."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def finite(value: float | None) -> float | None:
    """The number; None where it is missing or not finite."""
    return value if value is not None and math.isfinite(value) else None


Number = Annotated[float | None, AfterValidator(finite)]
"""A number that may be missing; one that is not finite is missing too."""


class Part(BaseModel):
    """Frozen; keys of another version are skipped."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, serialize_by_alias=True
    )
