"""The best model in a sweep's folder: whether it is still the one that was written there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raysel.common.errors import OperationalError
from raysel.export.check import FILE as EXPECTED_OUTPUTS
from raysel.export.check import check, load_expected_outputs
from raysel.export.sums import FILE as SUMS
from raysel.export.timm_layout import COPIED, WEIGHTS, damage_of


@dataclass(frozen=True)
class Examined:
    """What is known of a kept model.

    Attributes:
        problem: why it must not be handed over; None where nothing is wrong with it.
        note: why nothing can tell that it is the one that was written; "" where it was compared.
    """

    problem: str | None
    note: str = ""


def examine(folder: Path) -> Examined:
    """Look at a kept model.

    It is compared with its digests. One of a raysel that kept none is loaded without raysel, and
    what it answers is compared with what was noted when it was written, which takes seconds.
    """
    problem = damage_of(folder)
    if problem is not None or (folder / SUMS).exists():
        return Examined(problem)
    needed = (EXPECTED_OUTPUTS, COPIED[0].name)
    if missing := [name for name in needed if not (folder / name).exists()]:
        words = f"{folder / WEIGHTS} cannot be verified: this sweep was made before {SUMS}"
        return Examined(None, f"{words}, and {' and '.join(missing)} is not there to compare with")
    try:
        found = check(folder, load_expected_outputs(folder))
    except OperationalError as error:
        return Examined(str(error).removeprefix(f"{folder}/"))
    return Examined(None if found.passed else f"{WEIGHTS} is not the one that was written: {found}")
