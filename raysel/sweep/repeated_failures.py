"""End a sweep early when its trials fail alike."""

from __future__ import annotations

import re
from collections.abc import Callable

from raysel.record.events import Event, Kind
from raysel.record.failure_kind import FailureKind, failure_of

IN_A_ROW = 5

_NUMBER = re.compile(r"\b(0x)?[0-9a-f]*\d[0-9a-f]*\b")
"""Free bytes, pids, actor ids: parts of a message that differ between equal failures."""

_NOT_COUNTED = (None, FailureKind.DIVERGED, FailureKind.NOT_FINITE)


class Failures:
    """Counts equal failures in a row.

    A trial that diverged depends on its learning rate and not on the machine or the code: it is
    not counted, and neither is one that gave a number that is not finite.

    Attributes:
        too_many: whether there were `IN_A_ROW` of them.
    """

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._stop = stop
        self._kind = ""
        self._count = 0
        self.too_many = False

    def see(self, event: Event) -> None:
        """Count an event."""
        if event.kind != Kind.ENDED:
            return
        cause = str(event.payload.get("cause") or "")
        if failure_of(event.payload) in _NOT_COUNTED:
            self._count = 0
            return
        kind = _NUMBER.sub("0", cause)
        self._count = self._count + 1 if kind == self._kind else 1
        self._kind = kind
        if self._count >= IN_A_ROW:
            self.too_many = True
            self._stop(f"{IN_A_ROW} trials in a row failed alike: {cause}")
