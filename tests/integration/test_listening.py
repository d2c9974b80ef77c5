"""A sweep on this machine is open to nobody else on it, nor beyond, and tells no secret."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import grpc
import pytest
import ray

from raysel.credentials import cluster_token

from .object_store import CREDENTIALS
from .sockets import Sockets

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.mark.slow
def test_every_process_of_a_local_sweep_listens_on_loopback_alone(
    reference: Path, sockets: Sockets
) -> None:
    names = " ".join(sockets.found.values())
    assert "gcs_server" in names and "raylet" in names and "ray::" in names
    beyond = {
        (address, port): name
        for (address, port), name in sockets.found.items()
        if not _loopback(address)
    }
    assert not beyond


def _loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "another"])
def test_a_local_sweep_refuses_whoever_has_not_its_token(token: str | None) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask_for_the_cluster(token)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.slow
def test_its_token_is_its_own() -> None:
    token = os.environ["RAY_AUTH_TOKEN"]
    assert ask_for_the_cluster(token)
    assert token != cluster_token({})  # that of ~/.ray, which other clusters know too


@pytest.mark.slow
def test_no_key_of_the_environment_is_shown_or_written(
    reference: Path, sockets: Sockets, storage: Path
) -> None:
    secrets = (CREDENTIALS["AWS_SECRET_ACCESS_KEY"], os.environ["RAY_AUTH_TOKEN"])
    assert any("raylet" in line for line in sockets.arguments)
    assert not [line for line in sockets.arguments if any(secret in line for secret in secrets)]
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
