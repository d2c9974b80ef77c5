"""The probe of the job API's address: a small HTTP server plays the head."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from raysel.common.errors import UserError
from raysel.service.doctor.address import probe_endpoint
from raysel.service.doctor.checks.clock import check_clocks
from raysel.service.doctor.checks.token import check_entrance, check_token_modes
from raysel.service.doctor.machine import Machine, Token


class Head(ThreadingHTTPServer):
    """Answers as a head does: 401 without a token, 403 with another one.

    Attributes:
        token: what it asks for; None: nothing.
        late: seconds that its clock is behind.
        lost: whether it has no job API.
    """

    token: str | None = "right"
    late = 0.0
    lost = False


class _Handler(BaseHTTPRequestHandler):
    server: Head

    def do_GET(self) -> None:
        shown = self.headers.get("Authorization")
        status = 200
        if self.server.token is not None:
            status = 401 if shown is None else 200 if shown == "Bearer right" else 403
        self.send_response_only(404 if self.server.lost else status)
        self.send_header("Date", formatdate(timeval=_now() - self.server.late, usegmt=True))
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def _now() -> float:
    import time

    return time.time()


@pytest.fixture
def head() -> Iterator[Head]:
    with Head(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def own_token(tmp_path, monkeypatch):
    """This machine has the right token, and sends it."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("right\n")
    return path


def line(server: Head) -> str:
    """The one line about the door, with DOOR for its address."""
    address = f"http://127.0.0.1:{server.server_port}"
    (found,) = check_entrance(probe_endpoint(address + "/").entrance)
    return found.line().replace(address, "DOOR")


def test_a_endpoint_that_takes_our_token_is_sound(head):
    assert line(head) == "ok       token: DOOR asks for it and takes ours"


def test_a_wrong_token_is_reported(head, own_token):
    own_token.write_text("wrong")
    assert line(head) == (
        "error    token: DOOR refuses this machine's token (403). "
        "Copy the head's ~/.ray/auth_token here (chmod 600)"
    )


def test_a_token_of_the_environment_comes_first(head, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    assert line(head).startswith("error    token: DOOR refuses")


def test_a_machine_without_token_is_reported(head, own_token):
    own_token.unlink()
    assert line(head).startswith("error    token: DOOR asks for a token, this machine has none")


def test_an_open_endpoint_is_an_error(head):
    head.token = None
    assert line(head).startswith(
        "error    token: DOOR asks for no token: who reaches it runs code there. ray get-auth-token"
    )


def test_a_token_that_rays_commands_do_not_send_is_a_warning(head, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE")
    assert line(head) == (
        "warning  token: Ray's own commands do not send it from this machine. "
        "export RAY_AUTH_MODE=token"
    )


def test_something_else_that_listens_there_is_reported(head):
    head.lost = True
    assert line(head) == (
        "error    address: DOOR answers, but not as Ray does (404). "
        "Look at the port: Ray's dashboard has 8265"
    )


def test_nobody_at_the_address_is_reported(head):
    head.shutdown()
    head.server_close()
    assert line(head).startswith("error    address: DOOR does not answer. Look at the address")


def test_a_host_that_is_not_known_is_reported():
    (found,) = check_entrance(probe_endpoint("http://head.invalid:8265").entrance)
    assert found.words == "http://head.invalid:8265 cannot be found: the host is not known"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("head:8265", "is no address; give http://HEAD:8265"),
        ("ray://head:10001", "is no address; give http://HEAD:8265"),
        ("http://me:secret@head:8265", "holds a secret"),
    ],
)
def test_an_address_of_another_kind_is_refused(address, words):
    with pytest.raises(UserError, match=words) as raised:
        probe_endpoint(address)
    assert "secret@" not in str(raised.value)


def test_the_heads_clock_is_measured_by_what_http_reports(head):
    head.late = 100.0
    ahead = probe_endpoint(f"http://127.0.0.1:{head.server_port}").ahead
    assert ahead is not None
    assert -102 < ahead[0] < -98
    (found,) = check_clocks([Machine("the head", {}, ahead=ahead)])
    assert (found.level, found.about) == ("error", "clock")


def test_a_node_whose_ray_asks_for_no_token_is_an_error():
    sound, open_one = (
        Machine(name, {}, token=Token(mode=m)) for name, m in (("a", "token"), ("b", ""))
    )
    assert [one.level for one in check_token_modes([sound])] == ["ok"]
    (found,) = check_token_modes([sound, open_one])
    assert found.line().startswith(
        "error    token: b runs without: who reaches its ports runs code"
    )
