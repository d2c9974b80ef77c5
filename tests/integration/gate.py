"""A door before a server: shut, it looks like a server that is away, within milliseconds."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_CHUNK = 1 << 16


class Gate:
    """Forwards TCP connections to a server on loopback while it is open.

    Args:
        port: the server's.
        host: where the gate itself listens, an address of loopback.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target, self._host = ("127.0.0.1", port), host
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []
        self._mute = False
        self._last: tuple[bytes, int] | None = None
        with socket.socket() as probe:
            probe.bind((host, 0))
            self.port = int(probe.getsockname()[1])
        self.uri = f"http://{host}:{self.port}"

    def open(self, mute: bool = False) -> None:
        """Let connections in. A mute gate takes them and never answers."""
        self._mute = mute
        self._listener = socket.create_server((self._host, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Cut all connections, and refuse new ones."""
        listener, self._listener = self._listener, None
        for end in [listener, *self._ends]:
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        self._ends.clear()

    def shut_after(self, request: bytes, count: int) -> None:
        """Shut when the `count`th request holding these bytes has been answered; the answer
        is lost."""
        self._last = (request, count)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._ends.append(client)
                if not self._mute:
                    server = socket.create_connection(self._target)
                    self._ends.append(server)
                    cut = threading.Event()
                    for pump in (self._ask, self._answer):
                        ends = (client, server, cut)
                        threading.Thread(target=pump, args=ends, daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(_CHUNK):
                if self._last and self._last[0] in data:
                    self._last = (self._last[0], self._last[1] - 1)
                    if self._last[1] == 0:
                        self._last = None
                        cut.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(_CHUNK):
                if cut.is_set():
                    return self.shut()
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        return None
