"""A sweep on this machine is open to nobody else on it, nor beyond, and tells no secret."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
import ray

from raysel.common.credentials import cluster_token

from . import namespaces
from .arguments import Arguments
from .drivers import write
from .namespaces import HERE, Namespaces
from .object_store import CREDENTIALS

pytestmark = pytest.mark.ray

DATA_PORTS = ("gcs_server", "raylet", "ray::")
"""Processes of Ray that have to be seen listening, or nothing was looked at."""


@pytest.fixture(scope="module")
def two() -> Iterator[Namespaces]:
    """Two network namespaces."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with namespaces.namespaces() as found:
        yield found


def test_every_port_of_a_sweeps_ray_is_on_loopback(ray_cluster: None) -> None:
    family = psutil.Process().children(recursive=True)
    sockets = [(one.name(), c.laddr.ip) for one in family for c in one.net_connections("inet")
               if c.status == psutil.CONN_LISTEN]  # fmt: skip
    assert all(any(name in who for who, _ in sockets) for name in DATA_PORTS[:2]), sockets
    assert {host for _, host in sockets} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.mark.slow
def test_no_port_of_a_sweep_answers_from_another_machine(two: Namespaces, tmp_path: Path) -> None:
    file, _ = write(tmp_path / "two.yaml", "two", tmp_path / "runs", **{"search.num_trials": "3"})
    seen, answered = listened(two, tmp_path, "run", str(file), "--quiet")
    assert all(any(name in who for who in seen.values()) for name in DATA_PORTS), seen
    assert not answered


@pytest.mark.slow
def test_nor_one_of_any_other_verb_that_computes(two: Namespaces, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    file, _ = write(tmp_path / "verbs.yaml", "verbs", storage, **{"search.num_trials": "3"})
    place = ("--storage", str(storage))
    for verb, starts_ray in (
        (("plan", str(file)), True),
        (("finetune", str(file)), False),
        (("run", str(file), "--quiet"), True),
        (("resume", "verbs", "--set", "search.num_trials=4", *place, "--quiet"), True),
        (("reproduce", "verbs", "0", *place), False),
    ):
        seen, answered = listened(two, tmp_path, *verb)
        assert any("raylet" in who for who in seen.values()) == starts_ray, (verb, seen)
        assert not answered, verb


def listened(two: Namespaces, folder: Path, *verb: str) -> tuple[dict[int, str], dict[int, str]]:
    """Run `raysel` as a user does, in a process of its own, in the first namespace.

    Returns:
        port -> process: all that listened while it ran, and what answered from the second one.
    """
    # this process has set Ray's variables already: a user's shell has not
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))}
    seen: dict[int, str] = {}
    answered: dict[int, str] = {}
    with two.visitor() as visitor, two.answering() as known:
        assert all(visitor.connects(host, known) for host in HERE)  # the cable is whole
        command = [*two.prefix, str(Path(sys.executable).with_name("raysel")), *verb]
        output = folder / "output.txt"
        with output.open("w") as stream:
            process = subprocess.Popen(
                command, cwd=folder, env=inherited, stdout=stream, stderr=subprocess.STDOUT
            )
        try:
            while process.poll() is None:
                new = {p: who for p, who in two.listening().items() if p not in {known, *seen}}
                seen |= new
                answered |= {
                    port: who
                    for port, who in new.items()
                    if any(visitor.connects(host, port) for host in HERE)
                }
                time.sleep(0.2)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, output.read_text()
    return seen, answered


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("token", [None, "another"])
def test_a_local_sweep_refuses_whoever_has_not_its_token(token: str | None) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask_for_the_cluster(token)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_its_token_is_its_own() -> None:
    token = os.environ["RAY_AUTH_TOKEN"]
    assert ask_for_the_cluster(token)
    assert token != cluster_token({})  # that of ~/.ray, which other clusters know too


@pytest.mark.slow
def test_no_key_of_the_environment_is_shown_or_written(
    reference: Path, arguments: Arguments, storage: Path
) -> None:
    secrets = (CREDENTIALS["AWS_SECRET_ACCESS_KEY"], os.environ["RAY_AUTH_TOKEN"])
    assert any("raylet" in line for line in arguments.arguments)
    assert not [line for line in arguments.arguments if any(secret in line for secret in secrets)]
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    logs = [path for path in (session / "logs").rglob("*") if path.is_file()]
    left = [path for path in (*reference.rglob("*"), storage / "mlflow.db") if path.is_file()]
    assert {"runtime_env_agent.log", "sweep.db"} <= {path.name for path in (*logs, *left)}
    for path in (*logs, *left):
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path


def ask_for_the_cluster(token: str | None) -> bytes:
    """What the sweep's Ray tells whoever comes by."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(ray.get_runtime_context().gcs_address) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        return bytes(ask(b"", metadata=metadata, timeout=10))
