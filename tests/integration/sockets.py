"""What a sweep's processes show to everyone on the machine: sockets and arguments."""

from __future__ import annotations

from typing import Any

import psutil

from raysel.tracking.record import Kind

from .helpers import Silent


class Sockets(Silent):
    """A watcher that looks while trials train.

    Attributes:
        found: (address, port) -> the process that listens there.
        arguments: of all processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[str, int], str] = {}
        self.arguments: set[str] = set()

    def event(self, event: Any) -> None:
        super().event(event)
        if event.kind != Kind.EPOCH:
            return
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            self.arguments.add(" ".join(process.cmdline()))
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    self.found[connection.laddr.ip, connection.laddr.port] = process.name()
