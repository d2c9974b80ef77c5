"""Machines by ssh: what is asked, and what its failures mean. A real sshd answers in
`tests/integration/test_doctor_ssh_real.py`."""

from __future__ import annotations

import shlex

import pytest

from raysel.service.doctor import ssh
from raysel.service.doctor.checks.reached import check_hosts

HEAD = ssh.Login("10.0.0.2", "ubuntu", "/keys/raysel")


def lines(failure: str) -> list[str]:
    asked = ssh.Asked("worker 10.0.0.3", HEAD, None, failure=failure)
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
    asked = ssh.Asked("head", HEAD, {"versions": {"python": version}})
    assert [one.level for one in check_hosts([asked])] == [level]


def test_ssh_asks_no_question_and_keeps_nothing():
    command = HEAD.command("true")
    assert command[0] == "ssh"
    assert command[-2:] == ["ubuntu@10.0.0.2", "true"]
    for option in ("BatchMode=yes", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes"):
        assert command[command.index(option) - 1] == "-o"
    assert command[command.index("-i") + 1] == "/keys/raysel"


def test_a_worker_is_reached_by_way_of_the_head():
    head = ssh.Login("head", "ubuntu", "/keys/raysel", "ssh -W localhost:2222 gate@%h")
    (proxy,) = [w for w in ssh.Login("w", "me").through(head).command("true") if "Proxy" in w]
    inner = shlex.split(proxy.removeprefix("ProxyCommand="))
    assert inner[-3:] == ["-W", "%h:%p", "ubuntu@head"]
    # ssh itself replaces %h and %p once: what is meant for the inner one is doubled
    assert "ProxyCommand=ssh -W localhost:2222 gate@%%h" in inner
