"""Where the cluster is, and whether it lets us in: a refusal is one line that says what to do."""

from __future__ import annotations

import pytest
from dashboard_kit import dashboard, speaker

from raysel.common.errors import OperationalError, UserError
from raysel.service.doctor.machine import Machine
from raysel.service.doctor.machine_checks import check_clocks
from raysel.service.endpoint import address_of, probe_auth

NO_TOKEN = {"RAY_AUTH_TOKEN_PATH": "/nowhere"}


def test_what_was_given_beats_the_environment() -> None:
    environment = {"RAY_API_SERVER_ADDRESS": "http://env:1", "RAY_ADDRESS": "http://env:2"}
    assert address_of("http://given:8265/", environment) == "http://given:8265"
    assert address_of(None, environment) == "http://env:1"
    assert address_of(None, {"RAY_ADDRESS": "http://env:2"}) == "http://env:2"


def test_an_address_needs_no_scheme() -> None:
    assert address_of("127.0.0.1:8265", {}) == "http://127.0.0.1:8265"


@pytest.mark.parametrize("given", ["http://[::1", "http://", "http://head:x", "http://head:70000"])
def test_an_address_of_no_sense_is_a_mistake_and_no_traceback(given: str) -> None:
    with pytest.raises(UserError, match=r"--address: .*is not an address; give http://"):
        address_of(given, {})


@pytest.mark.parametrize("given", ["ray://head:10001", "ssh://head"])
def test_an_address_that_is_no_dashboard_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="http://HOST:8265"):
        address_of(given, {})


def test_an_address_holds_no_password() -> None:
    with pytest.raises(UserError) as refused:
        address_of("http://me:planted@head:8265", {})
    assert "planted" not in str(refused.value)


def test_the_token_is_not_taken_elsewhere() -> None:
    elsewhere = "http://127.0.0.1:1/"
    with (
        dashboard("t", detour=elsewhere) as url,
        pytest.raises(OperationalError, match="answers 302"),
    ):
        probe_auth(url, {"RAY_AUTH_TOKEN": "t"}).accepted()


def test_without_an_address_it_is_said_what_to_give() -> None:
    with pytest.raises(UserError, match="RAY_API_SERVER_ADDRESS"):
        address_of(None, {"RAY_ADDRESS": "10.0.0.1:6379"})


def test_a_cluster_that_asks_for_a_token_gets_it() -> None:
    with dashboard(token="t") as url:
        endpoint = probe_auth(url, {"RAY_AUTH_TOKEN": "t"}).accepted()
    assert endpoint.requires_token and endpoint.headers == {"Authorization": "Bearer t"}


def test_a_cluster_that_asks_for_none_gets_none() -> None:
    with dashboard() as url:
        endpoint = probe_auth(url, {"RAY_AUTH_TOKEN": "t"}).accepted()
    assert not endpoint.requires_token and not endpoint.headers


def test_without_a_token_it_is_said_what_to_set() -> None:
    with dashboard(token="t") as url, pytest.raises(OperationalError) as refused:
        probe_auth(url, NO_TOKEN).accepted()
    assert "401" in str(refused.value) and "set RAY_AUTH_TOKEN" in str(refused.value)


def test_another_token_is_another_line() -> None:
    with dashboard(token="t") as url, pytest.raises(OperationalError) as refused:
        probe_auth(url, {"RAY_AUTH_TOKEN": "secret"}).accepted()
    assert "403" in str(refused.value) and "secret" not in str(refused.value)


@pytest.mark.parametrize("answer", ["<html>", '{"version": 1}', "1", '["ray_version"]'])
def test_another_server_is_no_dashboard(answer: str) -> None:
    with (
        dashboard(answer=answer) as url,
        pytest.raises(OperationalError, match="not a Ray dashboard"),
    ):
        probe_auth(url, NO_TOKEN).accepted()


@pytest.mark.parametrize(
    "words",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xff",
    ],
)
def test_a_server_that_speaks_otherwise_is_no_dashboard(words: bytes) -> None:
    with speaker(words) as url, pytest.raises(OperationalError, match="not a Ray dashboard"):
        probe_auth(url, NO_TOKEN).accepted()


def test_a_token_of_two_lines_is_shown_to_nobody() -> None:
    with dashboard("s3cret") as url, pytest.raises(UserError, match="RAY_AUTH_TOKEN") as refused:
        probe_auth(url, {"RAY_AUTH_TOKEN": "s3cret\nsecond"}).accepted()
    assert "s3cret" not in str(refused.value)


def test_who_does_not_answer_is_named() -> None:
    with dashboard() as url:
        pass
    with pytest.raises(OperationalError, match=f"{url}: does not answer"):
        probe_auth(url, NO_TOKEN).accepted()


def test_a_host_that_is_not_known_is_named() -> None:
    with pytest.raises(OperationalError, match="cannot be found: the host is not known"):
        probe_auth("http://head.invalid:8265", NO_TOKEN).accepted()


@pytest.mark.parametrize("token", [None, "t"])
def test_the_heads_clock_is_measured_by_what_http_reports(token: str | None) -> None:
    with dashboard(token, late=100.0) as url:
        ahead = probe_auth(url, {"RAY_AUTH_TOKEN": "t"}).ahead
    assert ahead is not None and -102 < ahead[0] < -98
    (found,) = check_clocks([Machine("the head", {}, ahead=ahead)])
    assert (found.level, found.about) == ("error", "clock")
