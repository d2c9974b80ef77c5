"""The part of a Ray dashboard that a client asks before it is let in, without Ray."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def dashboard(
    token: str | None = None,
    answer: str | None = None,
    detour: str | None = None,
    failed: tuple[str, int, str] | None = None,
    late: float = 0.0,
) -> Iterator[str]:
    """A server on loopback; its address.

    Args:
        token: what it asks for.
        answer: what `/api/version` says, in the place of Ray's own words.
        detour: where it sends whoever has the token.
        failed: the one job that it has, which failed: its id, its exit code, its log.
        late: seconds that its clock is behind.
    """
    words = answer or json.dumps({"ray_version": "2.60.0", "version": "4"})
    answers = {"/api/jobs/": "[]"}
    if failed is not None:
        job, code, log = failed
        one = {"type": "SUBMISSION", "submission_id": job, "status": "FAILED", "message": log}
        answers["/api/jobs/"] = json.dumps([one | {"driver_exit_code": code, "entrypoint": "x"}])
        answers[f"/api/jobs/{job}/logs"] = json.dumps({"logs": log})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            if token is not None and given != f"Bearer {token}":
                self.send_error(403 if given else 401)
                return
            if detour is not None:
                self.send_response(302)
                self.send_header("Location", detour)
                self.end_headers()
                return
            body = answers.get(self.path, words).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() - late)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def speaker(words: bytes) -> Iterator[str]:
    """A server on loopback that says the same to the first who comes, and leaves; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def speak() -> None:
            caller, _ = server.accept()
            with caller:
                caller.recv(4096)
                caller.sendall(words)

        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()
