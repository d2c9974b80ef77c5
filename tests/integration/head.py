"""A Ray head of the tests' own: on loopback, with a token, in a home of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from raysel.common.errors import OperationalError
from raysel.service.endpoint import probe_auth

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
START_SECONDS = 120.0
COMMAND_SECONDS = 600.0


class Head:
    """One node, and the command line as a person uses it against it.

    Attributes:
        home: the home folder of the cluster's user, and of the person.
        session: Ray's own files, logs among them.
        token: what it asks for.
    """

    def __init__(self, cpus: int = 2) -> None:
        # not pytest's folders: the path of a Unix socket must be short
        self._folder = Path(tempfile.mkdtemp(prefix="rs"))
        self.home, self.session = self._folder / "home", self._folder / "ray"
        self.token = secrets.token_hex(32)
        (self.home / ".ray").mkdir(parents=True)
        file = self.home / ".ray" / "auth_token"
        file.touch(mode=0o600)
        file.write_text(self.token)
        self._cpus = cpus
        self._port, dashboard, self._agent = _free_ports(3)
        self.address = f"http://127.0.0.1:{dashboard}"
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self, **more: str) -> dict[str, str]:
        """Without what the tests' shared Ray has set."""
        strange = ("RAY_", "MLFLOW_", "AWS_", "PG", "RAYSEL_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(strange)}
        mine = {"HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}"}
        return kept | mine | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"} | more

    def start(self) -> None:
        """Start it, and wait until it lets us in."""
        environment = self.environment(
            RAY_AUTH_MODE="token", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_worker_niceness="0"
        )
        environment.pop("PYTHONPATH", None)  # jobs bring raysel along
        with (self._folder / "head.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
                    *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
                    f"--port={self._port}",
                    f"--dashboard-port={self.address.rpartition(':')[2]}",
                    f"--dashboard-agent-listen-port={self._agent}",
                    *(f"--num-cpus={self._cpus}", f"--temp-dir={self.session}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._lets_in():
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = (self._folder / "head.log").read_text(errors="replace")
                raise RuntimeError("the head did not start:\n" + words[-2000:])
            time.sleep(0.2)

    def _lets_in(self) -> bool:
        try:
            return (
                probe_auth(self.address, {"RAY_AUTH_TOKEN": self.token}).accepted().requires_token
            )
        except OperationalError:
            return False

    def processes(self) -> list[psutil.Process]:
        """All of it."""
        if self._process is None:
            return []
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def close(self) -> None:
        """End every process that was started, and remove its files."""
        processes = self.processes()
        for act in (psutil.Process.terminate, psutil.Process.kill):
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    act(process)
            _, processes = psutil.wait_procs(processes, timeout=5)
        shutil.rmtree(self._folder, ignore_errors=True)

    def popen(self, *arguments: str, cwd: Path = ROOT, **more: str) -> subprocess.Popen[str]:
        """`raysel ARGUMENTS`, with this checkout's raysel."""
        return subprocess.Popen(
            [sys.executable, "-m", "raysel", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(PYTHONPATH=str(ROOT), **more),
            cwd=cwd,
        )

    def raysel(self, *arguments: str, cwd: Path = ROOT, **more: str) -> tuple[int, str, str]:
        """The same to its end: exit code, standard output, standard error."""
        process = self.popen(*arguments, cwd=cwd, **more)
        try:
            out, err = process.communicate(timeout=COMMAND_SECONDS)
        finally:
            process.kill()
        assert "Traceback" not in out + err, out + err
        return process.returncode, out, err


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
