"""The cluster files of `ray up`: their keys are known to Ray, and they are closed to strangers."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.command_runner import SSHCommandRunner

from raysel.service.doctor.cluster_file import check_grammar, check_security

CLUSTER = Path(__file__).parents[3] / "cluster"
FILES = ("local", "aws", "gcp")


def problems(config: dict[str, Any]) -> list[str]:
    """What the doctor has against the keys of a cluster file."""
    return [one.line() for one in check_grammar(config) if one.level != "ok"]


@cache
def run_instances() -> Any:
    """The parameters of EC2's RunInstances, as botocore has them."""
    model = botocore.session.get_session().get_service_model("ec2")
    return model.operation_model("RunInstances").input_shape


def refused_by_aws(config: dict[str, Any]) -> list[str]:
    """What EC2 has against the nodes; `SubnetIds` is Ray's."""
    shape, found = run_instances(), []
    for kind in config["available_node_types"].values():
        node = {k: v for k, v in kind["node_config"].items() if k != "SubnetIds"}
        asked = {"MinCount": 1, "MaxCount": 1} | node
        report = ParamValidator().validate(asked, shape)
        unknown = set(asked) - set(shape.members)
        found += [report.generate_report(), *unknown] if report.has_errors() or unknown else []
    return found


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text("utf-8"))
    return config


@pytest.mark.parametrize("name", FILES)
def test_a_cluster_file_is_valid(name):
    assert problems(load(name)) == []
    assert name != "aws" or refused_by_aws(load(name)) == []


@pytest.mark.parametrize(
    ("name", "path", "key"),
    [
        ("local", "", "worker_setup_command"),
        ("local", "auth", "ssh_port"),
        ("local", "provider", "head_address"),
        ("aws", "available_node_types.gpu", "max_worker"),
        ("aws", "available_node_types.gpu.node_config", "InstanceMarketOption"),
        ("aws", "available_node_types.gpu.node_config.InstanceMarketOptions", "Markettype"),
    ],
)
def test_a_typo_in_a_cluster_file_is_seen(name, path, key):
    config = load(name)
    place: Any = config
    for part in filter(None, path.split(".")):
        place = place[int(part)] if part.isdigit() else place[part]
    place[key] = "x"
    assert problems(config) or refused_by_aws(config)


@pytest.mark.parametrize("name", FILES)
def test_every_node_wants_the_token_and_the_dashboard_stays_on_loopback(name):
    config = load(name)
    (head,) = [c for c in config["head_start_ray_commands"] if "ray start" in c]
    (worker,) = [c for c in config["worker_start_ray_commands"] if "ray start" in c]
    assert [one.level for one in check_security(config)] == ["ok"]
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in (CLUSTER / f"{name}.yaml").read_text("utf-8")
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]


@pytest.mark.skipif(shutil.which("rsync") is None, reason="`ray up` copies with rsync")
@pytest.mark.parametrize("name", FILES)
def test_no_secret_is_copied_with_the_folder(name, tmp_path):
    kept = ["raysel/x.py", "search_spaces/x.yaml", "cluster/.env.example"]
    secrets = [".env", "cluster/.env", "cluster/kuberay/credentials.env", ".raysel.env"]
    ballast = ["mlflow.db", "runs/x/record.db", "mlruns/x", "data/x", ".venv/x", ".git/x"]
    for path in map((tmp_path / "repository").joinpath, kept + secrets + ballast):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    shutil.copy(CLUSTER.parent / ".gitignore", tmp_path / "repository")
    copy_as_ray_does(load(name), f"{tmp_path}/repository/", tmp_path / "node")
    copied = {p.relative_to(tmp_path / "node").as_posix() for p in files_below(tmp_path / "node")}
    assert copied == {*kept, ".gitignore"}


@pytest.mark.skipif(shutil.which("rsync") is None, reason="`ray up` copies with rsync")
@pytest.mark.parametrize("name", FILES)
def test_the_passwords_that_are_meant_for_the_nodes_are_copied(name, tmp_path):
    (tmp_path / ".raysel.env").write_text("PGPASSWORD=x")
    copy_as_ray_does(load(name), str(tmp_path / ".raysel.env"), tmp_path / "node")
    assert len(files_below(tmp_path / "node")) == 1


def copy_as_ray_does(config: dict[str, Any], source: str, target: Path) -> None:
    arguments = SSHCommandRunner._create_rsync_filter_args(None, config)
    subprocess.run(["rsync", "-a", *arguments, source, f"{target}/"], check=True, timeout=30)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_gpu_workers_start_at_none_and_are_spot(name):
    gpu = load(name)["available_node_types"]["gpu"]
    assert gpu["min_workers"] == 0 < gpu["max_workers"]
    assert "spot" in str(gpu["node_config"]).lower()
