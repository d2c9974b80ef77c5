"""The ways into a cluster: the job API and its token, and machines by ssh: what is asked, and what
its failures mean. A real sshd answers in `tests/integration/test_doctor_ssh.py`."""

from __future__ import annotations

import shlex

import pytest
from dashboard_kit import dashboard

from raysel.service.doctor import collect
from raysel.service.doctor.access_checks import check_entrance, check_hosts, check_token_modes
from raysel.service.doctor.machine import Machine, Token
from raysel.service.endpoint import probe_auth

HEAD = collect.Login("10.0.0.2", "ubuntu", "/keys/raysel")


def lines(failure: str) -> list[str]:
    asked = collect.SshReply("worker 10.0.0.3", HEAD, None, failure=failure)
    return [one.line() for one in check_hosts([asked])]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (
            "ubuntu@10.0.0.3: Permission denied (publickey).",
            "error    ssh: worker 10.0.0.3 refuses the key. Put its public half into ~ubuntu/.ssh",
        ),
        (
            "ssh: connect to host 10.0.0.3 port 22: Connection timed out",
            "error    ssh: worker 10.0.0.3 does not answer within 8 s. Look at the address",
        ),
        (
            "ssh: connect to host 10.0.0.3 port 22: Connection refused",
            "error    ssh: worker 10.0.0.3 has no sshd listening. Start sshd there",
        ),
        (
            "ssh: Could not resolve hostname worker: Name or service not known",
            "error    ssh: worker 10.0.0.3 has a name that is not known. Look at provider",
        ),
        (
            "bash: line 1: python3: command not found",
            "error    ssh: worker 10.0.0.3 has no python3. Install Python 3.10 to 3.13 there",
        ),
        (
            "Something that nobody expected",
            "error    ssh: worker 10.0.0.3: Something that nobody expected. Try it by hand",
        ),
    ],
)
def test_a_failure_of_ssh_is_reported_in_words_with_a_remedy(failure, expected):
    (line,) = lines(failure)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    ("version", "level"),
    [("3.9.2", "error"), ("3.10.0", "ok"), ("3.13.1", "ok"), ("3.14.0", "error")],
)
def test_a_python_on_which_raysel_does_not_run_is_an_error(version, level):
    asked = collect.SshReply("head", HEAD, {"versions": {"python": version}})
    assert [one.level for one in check_hosts([asked])] == [level]


def test_ssh_asks_no_question_and_keeps_nothing():
    command = HEAD.command("true")
    assert command[0] == "ssh"
    assert command[-2:] == ["ubuntu@10.0.0.2", "true"]
    for option in ("BatchMode=yes", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes"):
        assert command[command.index(option) - 1] == "-o"
    assert command[command.index("-i") + 1] == "/keys/raysel"


def test_a_worker_is_reached_by_way_of_the_head():
    head = collect.Login("head", "ubuntu", "/keys/raysel", "ssh -W localhost:2222 gate@%h")
    (proxy,) = [w for w in collect.Login("w", "me").through(head).command("true") if "Proxy" in w]
    inner = shlex.split(proxy.removeprefix("ProxyCommand="))
    assert inner[-3:] == ["-W", "%h:%p", "ubuntu@head"]
    # ssh itself replaces %h and %p once: what is meant for the inner one is doubled
    assert "ProxyCommand=ssh -W localhost:2222 gate@%%h" in inner


# --- the job API -----------------------------------------------------------------------------


def entrance(url: str, token: str | None = "t", mode: str = "token") -> str:
    """The one line about the job API, with URL for its address."""
    given = {"RAY_AUTH_TOKEN_PATH": "/nowhere"} if token is None else {"RAY_AUTH_TOKEN": token}
    (found,) = check_entrance(probe_auth(url, given), mode)
    return found.line().replace(url, "URL")


def test_an_endpoint_that_takes_our_token_is_sound():
    with dashboard("t") as url:
        assert entrance(url) == "ok       token: URL asks for it and takes ours"
        assert entrance(url, mode="") == (
            "warning  token: Ray's own commands do not send it from this machine. "
            "export RAY_AUTH_MODE=token"
        )
        assert entrance(url, "wrong") == (
            "error    token: URL refuses this machine's token (403). "
            "Copy the head's ~/.ray/auth_token here (chmod 600)"
        )
        assert entrance(url, None).startswith(
            "error    token: URL asks for a token, this machine has none"
        )
    assert entrance(url).startswith("error    address: URL does not answer: ")


def test_an_open_endpoint_is_an_error():
    with dashboard() as url:
        assert entrance(url).startswith(
            "error    token: URL asks for no token: who reaches it runs code there. ray get-auth"
        )


def test_something_else_that_listens_there_is_reported():
    with dashboard(detour="http://127.0.0.1:1/") as url:
        assert entrance(url) == (
            "error    address: URL answers, but not as Ray does (302). "
            "Look at the port: Ray's dashboard has 8265"
        )
    with dashboard(answer="<html>") as url:
        assert entrance(url).startswith("error    address: URL answers, but not as Ray does (200)")


def test_a_node_whose_ray_asks_for_no_token_is_an_error():
    sound, open_one = (
        Machine(name, {}, token=Token(mode=m)) for name, m in (("a", "token"), ("b", ""))
    )
    assert [one.level for one in check_token_modes([sound])] == ["ok"]
    (found,) = check_token_modes([sound, open_one])
    assert found.line().startswith(
        "error    token: b runs without: who reaches its ports runs code"
    )
