"""An `mlflow server` of the tests' own: on loopback, with PostgreSQL behind it and basic auth."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

_PATIENCE_SECONDS = 120.0


class MlflowServer:
    """A server that can be stopped and started again on the same port.

    Args:
        folder: for its files.
        backend: the URL of its database.
        auth: whether it wants a user and a password.

    Attributes:
        uri: its address.
        user, password: the administrator's.
    """

    user = "admin"

    def __init__(self, folder: Path, backend: str, auth: bool = False) -> None:
        self._folder, self._backend, self._auth = folder, backend, auth
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_urlsafe(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        config = f"[mlflow]\ndefault_permission = READ\nadmin_username = {self.user}\n"
        config += f"database_uri = sqlite:///{folder}/auth.db\n"
        config += "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        config += "auth_cache_ttl_seconds = 60\n"
        (folder / "auth.ini").write_text(config)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None
        extra = ["--app-name", "basic-auth"] if self._auth else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
                    *("--port", str(self.port), "--workers", "1"),
                    *("--backend-store-uri", self._backend),
                    *("--artifacts-destination", str(self._folder / "artifacts"), *extra),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self.takes_connections():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("mlflow server did not start:\n" + self.words()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it with all its workers, in the middle of whatever they do."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def takes_connections(self) -> bool:
        """Whether it is there."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def words(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

    def login(self) -> dict[str, str]:
        """The variables with which a client may write."""
        return {"MLFLOW_TRACKING_USERNAME": self.user, "MLFLOW_TRACKING_PASSWORD": self.password}

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        return kept | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a dozen processes of its own
            "MLFLOW_AUTH_CONFIG_PATH": str(self._folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.password,
            "OMP_NUM_THREADS": "1",
        }
