"""What a sweep's processes show to everyone on the machine: their arguments."""

from __future__ import annotations

from typing import Any

import psutil

from raysel.record.events import Kind

from .helpers import Silent


class Arguments(Silent):
    """A watcher that looks while trials train.

    Attributes:
        arguments: of all processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.arguments: set[str] = set()

    def event(self, event: Any) -> None:
        super().event(event)
        if event.kind == Kind.EPOCH:
            me = psutil.Process()
            for process in (me, *me.children(recursive=True)):
                self.arguments.add(" ".join(process.cmdline()))
