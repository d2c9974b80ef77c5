"""cluster/local.yaml as it stands, but for the machines: `ray up`, a sweep, `ray down`."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .drivers import TINY
from .ssh_machines import HEAD, WORKER, SshMachines, why_not

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
COUNT = """
import os
os.environ["RAY_AUTH_MODE"] = "token"
import ray
ray.init(address="auto", logging_level="ERROR")
print("nodes:", len(ray.nodes()))
"""

INSTALLS = ("python3 -m venv", "pip install")
"""What a machine without a network cannot do: the tests' own environment takes its place."""


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[SshMachines]:
    if reason := why_not():
        pytest.skip(f"no machines of the test's own: {reason}")
    found = SshMachines(tmp_path)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def cluster_file(folder: Path, machines: SshMachines) -> Path:
    """The template with the test's addresses and key; nothing is installed from outside."""
    content = yaml.safe_load((ROOT / "cluster" / "local.yaml").read_text(encoding="utf-8"))
    content["cluster_name"] = f"raysel-{secrets.token_hex(4)}"
    content["provider"] |= {"head_ip": HEAD, "worker_ips": [WORKER]}
    content["auth"] = {"ssh_user": "root", "ssh_private_key": str(machines.key)}
    content["min_workers"] = content["max_workers"] = 1
    sweep = folder / "tiny.yaml"
    sweep.write_text(TINY, encoding="utf-8")
    content["file_mounts"] |= {"~/raysel": str(ROOT), "~/sweeps/tiny.yaml": str(sweep)}
    commands = content["setup_commands"]
    kept = [command for command in commands if not any(what in command for what in INSTALLS)]
    assert len(kept) == len(commands) - len(INSTALLS)
    installed = [f"ln -sfn {sys.prefix} ~/.raysel"]
    installed += ["echo 'export PYTHONPATH=$HOME/raysel' >> ~/.bashrc"]
    content["setup_commands"] = [*installed, *kept]
    file = folder / "local.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def test_ray_up_submit_and_down(tmp_path: Path, machines: SshMachines) -> None:
    token = machines.token()
    (machines.homes[HEAD] / "count.py").write_text(COUNT, encoding="utf-8")
    file = cluster_file(tmp_path, machines)
    v1 = {"RAY_UP_enable_autoscaler_v2": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    machines.client("ray", "up", "-y", "--no-config-cache", str(file), **v1)
    try:
        deadline = time.monotonic() + 300  # a node that was too slow is tried again
        while "nodes: 2" not in (said := machines.on(HEAD, "python ~/count.py")):
            assert time.monotonic() < deadline, said
            time.sleep(2.0)
        submit = ["ray", "submit", "--no-config-cache", str(file)]
        submit += [str(ROOT / "cluster" / "submit.py"), "/root/sweeps/tiny.yaml"]
        done = machines.client(*submit, "--set", "storage=/root/runs", timeout=400, **v1)
        assert "tiny" in done.stdout
        run = machines.homes[HEAD] / "runs" / "tiny"
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        assert results["status"] == "complete" and results["verdict"]["winner"]
        assert (run / "best" / "model.safetensors").is_file()
        assert token not in done.stdout + done.stderr
    finally:
        machines.client("ray", "down", "-y", str(file), **v1)
    assert "raylet/raylet" not in machines.on(HEAD, "ps aux")
