"""Two machines side by side on this one: network namespaces with a cable between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

HERE = ("10.79.0.1", "fd79::1")
"""The first namespace's own addresses, as the second one reaches them."""

_BESIDE = ("10.79.0.2", "fd79::2")
_UNSHARE = ("unshare", "--net", "--fork", "--kill-child")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

_CONNECT = """
import socket, sys
for line in sys.stdin:
    host, port = line.split()
    try:
        socket.create_connection((host, int(port)), 3).close()
    except OSError as error:
        print(error.strerror or error, flush=True)
    else:
        print("open", flush=True)
"""

_LISTEN = """
import signal, socket
server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
print(server.getsockname()[1], flush=True)
signal.pause()
"""


@dataclass(frozen=True)
class Namespaces:
    """Two namespaces.

    Attributes:
        pid: of a process in the first one; `beside`, of one in the second.
    """

    pid: int
    beside: int

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before a command that is to run in the first one."""
        return _enter(self.pid)

    def listening(self) -> dict[int, str]:
        """Port -> who listens there, of TCP on whatever address, as `ss` tells it."""
        found = {}
        for line in _run(*self.prefix, "ss", "-Hltnp").splitlines():
            columns = line.split(maxsplit=5)
            who = columns[5] if len(columns) > 5 else ""
            found[int(columns[3].rpartition(":")[2])] = who
        return found

    @contextmanager
    def answering(self) -> Iterator[int]:
        """A port of the first one that is open to everybody, to know an open port by."""
        process = subprocess.Popen(
            [*self.prefix, sys.executable, "-c", _LISTEN], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def visitor(self) -> Iterator[Visitor]:
        """Somebody in the second namespace."""
        process = subprocess.Popen(
            [*_enter(self.beside), sys.executable, "-c", _CONNECT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Visitor(process)
        finally:
            process.kill()
            process.communicate()


class Visitor:
    """Tries ports of the first namespace from the second one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def connects(self, host: str, port: int) -> bool:
        """Whether somebody answers."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{host} {port}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer in ("open", "Connection refused"), answer
        return answer == "open"


def why_not() -> str | None:
    """Why there are no namespaces here, in the system's own words; None where there are."""
    for tool, package in {"ip": "iproute2", "ss": "iproute2", "unshare": "util-linux"}.items():
        if shutil.which(tool, path=_PATH) is None:
            return f"{tool} is not installed (Debian's package {package})"
    cable = ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable2"]
    done = subprocess.run(
        [*_UNSHARE, *cable], capture_output=True, text=True, env=os.environ | {"PATH": _PATH}
    )
    return f"{' '.join((*_UNSHARE, *cable))}: {done.stderr.strip()}" if done.returncode else None


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    """Two of them for the block. The first has a default route: without one Ray finds no address
    but loopback, and a test would see nothing."""
    holders = [subprocess.Popen([*_UNSHARE, "sleep", "infinity"]) for _ in range(2)]
    try:
        pid, beside = (_inside(holder.pid) for holder in holders)
        here, there = _enter(pid), _enter(beside)
        cable = ("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable")
        _run(*here, *cable, "netns", str(beside))
        for prefix, addresses in ((here, HERE), (there, _BESIDE)):
            _run(*prefix, "ip", "link", "set", "lo", "up")
            _run(*prefix, "ip", "addr", "add", f"{addresses[0]}/24", "dev", "cable")
            _run(*prefix, "ip", "addr", "add", f"{addresses[1]}/64", "dev", "cable", "nodad")
            _run(*prefix, "ip", "link", "set", "cable", "up")
        _run(*here, "ip", "route", "add", "default", "via", _BESIDE[0])
        yield Namespaces(pid, beside)
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def _inside(pid: int) -> int:
    """`unshare`'s child, which is in the namespace."""
    deadline = time.monotonic() + 10
    while True:
        if children := psutil.Process(pid).children():
            return children[0].pid
        assert time.monotonic() < deadline, "unshare starts nothing"
        time.sleep(0.02)


def _enter(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PATH": _PATH})
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
