"""Two machines that are reached by ssh: network namespaces of this one, each with a real sshd, a
home and processes of its own, and a third that is the client."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

HEAD, WORKER = "10.77.0.2", "10.77.0.3"
_PATIENCE_SECONDS = 30.0


def why_not() -> str | None:
    """Why such machines cannot be made here, in the system's own words; None where they can."""
    needed = {"ip": "iproute2", "sshd": "openssh-server", "ssh": "openssh-client"}
    needed |= {"rsync": "rsync", "unshare": "util-linux"}
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for tool, package in needed.items():
        if shutil.which(tool, path=path) is None:
            return f"{tool} is not installed (Debian's package {package})"
    namespaces = ["unshare", "-n", "-m", "-p", "-f", "--mount-proc"]
    bridge = ["ip", "link", "add", "raysel", "type", "bridge"]
    done = subprocess.run([*namespaces, *bridge], capture_output=True, text=True)
    return f"{' '.join(namespaces + bridge)}: {done.stderr.strip()}" if done.returncode else None


class SshMachines:
    """Running machines; everything of theirs lies in `folder`.

    Attributes:
        key: that opens them for root.
        homes: by address, the folder that is the machine's /root.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = [f"raysel-{os.getpid()}-{what}" for what in ("client", "head", "worker")]
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.key = folder / "key"
        self.homes: dict[str, Path] = {}

    def start(self) -> None:
        """Make them, and wait until they answer."""
        for name in ("key", "host_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name))
        client, *nodes = self._names
        self._connect(client, nodes)
        for name, address in zip(nodes, (HEAD, WORKER), strict=True):
            self._boot(name, address)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for address in (HEAD, WORKER):
            while self.client(*self._ssh(address), "true", check=False).returncode:
                assert time.monotonic() < deadline, self._log(address).read_text()[-2000:]
                time.sleep(0.2)

    def client(
        self, *command: str, check: bool = True, timeout: float = 240, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the client, whose home is `folder`/client."""
        home = self._folder / "client"
        home.mkdir(exist_ok=True)
        bin_ = str(Path(sys.executable).parent)
        path = f"{bin_}:{os.environ['PATH']}:/usr/sbin:/sbin"
        done = subprocess.run(
            ["ip", "netns", "exec", self._names[0], *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb"} | environment,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def on(self, address: str, command: str) -> str:
        """What a command says in a login shell of a machine."""
        done = self.client(*self._ssh(address), f"bash -lc '{command}'", check=False)
        return done.stdout + done.stderr

    def token(self) -> str:
        """Ray's token, made on the client as its README says."""
        folder = self._folder / "client" / ".ray"
        folder.mkdir(parents=True)
        token = secrets.token_hex(32)
        (folder / "auth_token").touch(mode=0o600)
        (folder / "auth_token").write_text(token)
        return token

    def stop(self) -> None:
        """Switch them off: their processes end with them."""
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait()
        for name in self._names:
            with suppress(RuntimeError):
                _run("ip", "netns", "del", name)

    def _connect(self, client: str, nodes: list[str]) -> None:
        """A bridge on the client, and a cable from it to each node. Ray looks for its own
        address along the default route."""
        for name in self._names:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", client, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", client, "addr", "add", "10.77.0.1/24", "dev", "bridge")
        _run("ip", "-n", client, "link", "set", "bridge", "up")
        for number, (name, address) in enumerate(zip(nodes, (HEAD, WORKER), strict=True)):
            port = f"port{number}"
            peer = ["peer", "name", "eth0", "netns", name]
            _run("ip", "-n", client, "link", "add", port, "type", "veth", *peer)
            _run("ip", "-n", client, "link", "set", port, "master", "bridge", "up")
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
            _run("ip", "-n", name, "route", "add", "default", "via", "10.77.0.1")

    def _boot(self, name: str, address: str) -> None:
        home, scratch = self._folder / f"home-{address}", self._folder / f"tmp-{address}"
        (home / ".ssh").mkdir(parents=True)
        scratch.mkdir()
        shutil.copy(self.key.with_suffix(".pub"), home / ".ssh" / "authorized_keys")
        (home / ".bash_profile").write_text(". ~/.bashrc\n")
        (home / ".bashrc").write_text("")
        self.homes[address] = home
        # the key is opened before /tmp is another folder
        lines = ["set -e", f"exec 3<{self._folder}/host_key", "mount --make-rprivate /"]
        # Python itself may lie where the machine's own folders will be
        for python in {sys.prefix, sys.base_prefix}:
            for place, own in (("/root", home), ("/tmp", scratch)):
                if Path(python).is_relative_to(place):
                    inside = own / Path(python).relative_to(place)
                    inside.mkdir(parents=True)
                    lines.append(f"mount --bind {python} {inside}")
        lines += [f"mount --rbind {home} /root", f"mount --rbind {scratch} /tmp"]
        lines += ["mount -t tmpfs tmpfs /dev/shm", "mount -t tmpfs tmpfs /run", "mkdir /run/sshd"]
        lines += ["(umask 077; cat <&3 >/run/host_key)"]
        options = [f"ListenAddress={address}", "HostKey=/run/host_key", "UsePAM=no"]
        options += ["PermitRootLogin=prohibit-password", "StrictModes=no", "PidFile=none"]
        sshd = " ".join(f"-o {option}" for option in options)
        lines += [f"exec /usr/sbin/sshd -D -e -f /dev/null {sshd}"]
        isolated = ["unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child"]
        with self._log(address).open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, *isolated, "bash", "-c", "\n".join(lines)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def _log(self, address: str) -> Path:
        return self._folder / f"sshd-{address}.log"

    def _ssh(self, address: str) -> list[str]:
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        options += ["-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", "-i", str(self.key)]
        return ["ssh", *options, f"root@{address}"]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
