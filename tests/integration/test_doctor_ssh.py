"""A cluster file's machines, asked over a real sshd.

The sshd is started by ssh itself, as its ProxyCommand, and speaks on standard input and output:
it listens nowhere, and is gone with the connection.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysel.service.doctor.examine import examine_file
from raysel.service.doctor.finding import Finding

LOCAL = Path(__file__).parents[2] / "cluster" / "local.yaml"
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
BESIDE = ("warning  disk", "warning  files", "error    files")
"""Not about ssh: the tests' machine may be short of room."""


def sshd(folder: Path) -> str:
    """A command that serves one connection; the keys in `authorized` are let in."""
    options = {
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    reported = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    command = shlex.join([SSHD or "sshd", "-i", "-f", "/dev/null", *reported])
    if os.geteuid() != 0:
        return command
    # root's sshd wants its folder in /run: here in a /run of its own
    inner = f"mount -t tmpfs none /run && mkdir /run/sshd && exec {command}"
    return shlex.join(["unshare", "-m", "sh", "-c", inner])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of the host, of who is let in, and of who is not."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("there is no sshd on this machine (openssh-server)")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("host", "mine", "other"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(folder / "mine.pub", folder / "authorized")
    if os.geteuid() == 0:
        tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"this machine refuses namespaces: {tried.stderr.strip()}")
    return folder


@pytest.fixture
def config(keys: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A cluster file whose head is that sshd."""
    monkeypatch.setenv("RAY_UP_enable_autoscaler_v2", "0")
    content: dict[str, Any] = yaml.safe_load(LOCAL.read_text("utf-8"))
    content["auth"] = {
        "ssh_user": getpass.getuser(),
        "ssh_private_key": str(keys / "mine"),
        "ssh_proxy_command": sshd(keys),
    }
    content["provider"] |= {"head_ip": "10.0.0.2", "worker_ips": []}
    content |= {"min_workers": 0, "max_workers": 0}
    return content


def bad(found: list[Finding]) -> list[str]:
    lines = [one.line() for one in found if one.level != "ok"]
    return [line for line in lines if not line.startswith(BESIDE) and "auth_token" not in line]


def test_a_head_that_lets_us_in_reports_of_itself(config):
    found = examine_file(config)
    assert bad(found) == []
    assert "ok       ssh: login accepted by head 10.0.0.2" in [one.line() for one in found]
    assert any(one.about == "clock" and one.level == "ok" for one in found)
    assert any(one.about == "disk" for one in found)


def test_a_key_that_the_head_does_not_know_is_found(config, keys):
    config["auth"]["ssh_private_key"] = str(keys / "other")
    (line,) = bad(examine_file(config))
    user = getpass.getuser()
    assert line == (
        f"error    ssh: head 10.0.0.2 refuses the key. Put its public half into ~{user}/.ssh/"
        "authorized_keys there, or look at auth.ssh_user and auth.ssh_private_key"
    )


def test_a_worker_that_the_head_does_not_reach_is_found(config):
    config["provider"]["worker_ips"] = ["127.0.0.99"]  # of loopback, where nothing listens
    config |= {"min_workers": 1, "max_workers": 1}
    (line,) = bad(examine_file(config))
    assert line.startswith("error    ssh: worker 127.0.0.99 has no sshd listening. Start sshd")
