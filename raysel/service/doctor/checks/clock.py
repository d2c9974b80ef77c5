"""Clock differences: leases, logs and records contain times."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.service.doctor.finding import Finding, error, ok, warning
from raysel.service.doctor.machine import Machine

NOTED_SECONDS, MUCH_SECONDS = 2.0, 30.0


def check_clocks(machines: Sequence[Machine]) -> list[Finding]:
    """How far each clock is from the first machine's, where that could be measured."""
    known = [(m.name, *m.ahead) for m in machines if m.ahead is not None]
    found = []
    for name, ahead, blur in known:
        off = abs(ahead) - blur
        if off <= NOTED_SECONDS:
            continue
        way = "ahead" if ahead > 0 else "behind"
        words = f"{name} is {abs(ahead):.0f} s {way}"
        remedy = "Let it keep time: timedatectl set-ntp true, or chrony"
        found.append((error if off > MUCH_SECONDS else warning)("clock", words, remedy))
    if found or not known:
        return found
    return [ok("clock", f"within {NOTED_SECONDS:g} s on {len(known)} machines")]
