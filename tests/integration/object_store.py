"""An S3 endpoint of the tests' own: moto's server, a process on loopback, gone afterwards."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from raysel.common.object_store import Bucket

_PATIENCE_SECONDS = 60.0
_names = itertools.count(1)

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "planted-key-of-the-tests",  # searched for by test_listening
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What every process that uses the store needs in its environment."""


class ObjectStore:
    """A running server; whatever it holds is in its memory."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        log = folder / "moto.log"
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=os.environ | CREDENTIALS,
            )
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("moto's server did not start:\n" + log.read_text()[-2000:])
            time.sleep(0.05)

    def new_bucket(self, port: int | None = None) -> str:
        """The URI of a fresh and empty bucket.

        Args:
            port: of a gate before the server.
        """
        name = f"bucket-{next(_names)}"
        store, _ = Bucket(f"s3://{name}?{self._options(self.port)}")._opened
        store.create_dir(name)
        return f"s3://{name}/sweeps?{self._options(port or self.port)}"

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_PATIENCE_SECONDS)

    def _options(self, port: int) -> str:
        return (
            f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
            "&allow_bucket_creation=true"
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
