"""Three Ray nodes on this machine, on loopback, in a process of their own.

    python -m tests.integration.three_nodes FOLDER [HIDDEN]

Each node has one CPU. HIDDEN is a folder that the second and the third node do not share: in its
place each sees an empty one of its own (in a mount namespace, as root). A line of JSON tells the
address and the nodes' raylets; the cluster ends with the process's standard input.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS of sched.h


class ThreeNodes:
    """A running cluster, as a test sees it.

    Attributes:
        address: for RAY_ADDRESS.
        raylets: the processes of the nodes; the head's first.
    """

    def __init__(self, process: subprocess.Popen[str], reported: str, token: str) -> None:
        facts = json.loads(reported)
        self._process, self._token = process, token
        self.address: str = facts["address"]
        self.raylets: list[int] = facts["raylets"]

    @property
    def environment(self) -> dict[str, str]:
        """For drivers."""
        return _guarded(self._token) | {"RAY_ADDRESS": self.address}

    def lose(self, raylet: int) -> None:
        """The power of one node goes: its processes are killed all at once."""
        _kill(psutil.Process(raylet))

    def lose_all(self) -> None:
        """The power of all of them goes."""
        _kill(psutil.Process(self._process.pid))
        self._process.wait()


@contextmanager
def three_nodes(hidden: Path | None = None) -> Iterator[ThreeNodes]:
    """A cluster for the block."""
    # a local Ray asks for a token, and drivers of the tests inherit it
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folder = tempfile.mkdtemp(prefix="r3-", dir="/tmp")  # Ray's sockets want a short path
    log, token = Path(folder, "log"), secrets.token_hex(32)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.three_nodes", folder]
            + ([str(hidden)] if hidden else []),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | _guarded(token),
        )
    try:
        assert process.stdout is not None
        reported = process.stdout.readline()
        assert reported, log.read_text()[-3000:]
        yield ThreeNodes(process, reported, token)
    finally:
        children = _tree(process.pid)
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def why_not_hidden() -> str | None:
    """Why no node can have a folder of its own here; None where it can."""
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True
    )
    return None if done.returncode == 0 else f"unshare -m: {done.stderr.strip()}"


def _guarded(token: str) -> dict[str, str]:
    """Environment for a Ray on loopback that asks for a token."""
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
    }


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(process: psutil.Process) -> None:
    for one in _tree(process.pid):
        with suppress(psutil.NoSuchProcess):
            os.kill(one.pid, signal.SIGKILL)


# --- the process itself --------------------------------------------------------------------------


def _own_place(hidden: Path, own: Path) -> None:
    """From here on this process and its children see `own` where others see `hidden`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    own.mkdir()
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(own), str(hidden)], check=True)


def _serve(folder: Path, hidden: Path | None) -> None:
    from ray.cluster_utils import Cluster

    place = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "num_cpus": 1}
    cluster = Cluster(initialize_head=True, head_node_args=place | {"temp_dir": str(folder)})
    nodes = [cluster.head_node]
    for number in (2, 3):
        if hidden is not None:
            _own_place(hidden, folder / f"disk-{number}")
        nodes.append(cluster.add_node(**place))
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None)
