"""A cluster file of `ray up`, and the files that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from raysel.common.errors import UserError
from raysel.service.doctor import collect
from raysel.service.doctor.cluster_file import (
    check_autoscaler,
    check_grammar,
    check_paths,
    check_security,
)
from raysel.service.doctor.examine import cluster_file, examine_file
from raysel.service.doctor.finding import Finding

LOCAL = Path(__file__).parents[3] / "cluster" / "local.yaml"


@pytest.fixture
def config(tmp_path) -> dict[str, Any]:
    """A sound file, whose key and token are there."""
    key, token = tmp_path / "key", tmp_path / "auth_token"
    for path in (key, token):
        path.write_text("x")
        path.chmod(0o600)
    content: dict[str, Any] = yaml.safe_load(LOCAL.read_text("utf-8"))
    content["auth"]["ssh_private_key"] = str(key)
    content["file_mounts"] = {"~/.ray/auth_token": str(token), "~/raysel": str(tmp_path)}
    return content


def bad(found: list[Finding]) -> list[str]:
    return [one.line() for one in found if one.level != "ok"]


def test_a_sound_file_has_ok_lines_only(config):
    found = check_grammar(config) + check_security(config) + check_paths(config)
    assert bad(found + check_autoscaler(config, {"RAY_UP_enable_autoscaler_v2": "0"})) == []
    assert len(found) == 3


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("provider.head_address", 'error    file: provider.head_address: Ray does not read it. '),
        ("worker_setup_command", "error    file: Additional properties are not allowed "
         "('worker_setup_command' was unexpected). Did you mean \"worker_setup_commands\"?"),
        ("auth.ssh_port", "error    file: auth: Additional properties are not allowed "
         "('ssh_port' was unexpected). "),
    ],
)  # fmt: skip
def test_a_typo_is_reported_with_the_nearest_key(config, path, expected):
    place = config
    *parents, key = path.split(".")
    for part in parents:
        place = place[part]
    place[key] = 1
    (line,) = bad(check_grammar(config))
    assert line.startswith(expected)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"file_mounts": ["a"]}, "file_mounts"),
        ({"available_node_types": [1]}, "available_node_types"),
        ({"available_node_types": {"a": None}}, "available_node_types"),
        ({"available_node_types": {"a": {"node_config": [1]}}}, "available_node_types"),
        ({"auth": "ubuntu"}, "auth"),
        ({"auth": {"ssh_user": "x", "ssh_private_key": 1}}, "ssh_private_key"),
        ({"max_workers": "two"}, "max_workers"),
        ({"setup_commands": None}, "setup_commands"),
        ({"provider": {"type": ["local"]}}, "provider.type"),
        ({"provider": {"type": "local", "head_ip": "10.0.0.2", "worker_ips": 3}}, "worker_ips"),
        ({"head_start_ray_commands": "RAY_AUTH_MODE=token ray start"}, "head_start_ray_commands"),
        ({"worker_start_ray_commands": 1}, "worker_start_ray_commands"),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_one_line_and_nothing_else_is_looked_at(
    config, change, named, monkeypatch
):
    monkeypatch.setattr(collect, "ask_hosts", lambda config: pytest.fail("no machine is asked"))
    (line,) = bad(examine_file({**config, **change}))
    assert line.startswith("error    file: ") and named in line


def test_what_ray_refuses_otherwise_is_one_line(config):
    config["provider"]["type"] = "nonsense"
    assert bad(check_grammar(config)) == [
        "error    file: Unsupported node provider: nonsense. Fix the file"
    ]


@pytest.mark.parametrize("role", ["head", "worker"])
def test_a_start_without_token_is_an_error(config, role):
    commands = config[f"{role}_start_ray_commands"]
    config[f"{role}_start_ray_commands"] = [c.replace("RAY_AUTH_MODE=token", "") for c in commands]
    assert bad(check_security(config)) == [
        f"error    token: {role}_start_ray_commands start Ray without a token: who reaches it "
        "runs code. Write RAY_AUTH_MODE=token before ray start"
    ]


def test_a_dashboard_on_every_interface_is_a_warning(config):
    commands = config["head_start_ray_commands"]
    config["head_start_ray_commands"] = [c.replace("127.0.0.1", "0.0.0.0") for c in commands]
    (line,) = bad(check_security(config))
    assert line.startswith("warning  token: the dashboard listens on every interface. Give")


def test_a_token_that_is_not_mounted_is_an_error(config):
    del config["file_mounts"]["~/.ray/auth_token"]
    (line,) = bad(check_security(config))
    assert line.startswith("error    token: no token is mounted")


def test_the_second_autoscaler_is_warned_of_where_a_local_cluster_has_workers(config):
    assert bad(check_autoscaler(config, {})) == [
        "warning  autoscaler: with Ray's second autoscaler the workers of a local cluster never "
        "start. RAY_UP_enable_autoscaler_v2=0 ray up FILE"
    ]
    config["provider"]["worker_ips"] = []
    assert check_autoscaler(config, {}) == []


def test_a_key_that_is_not_there_is_an_error(config, tmp_path):
    (tmp_path / "key").unlink()
    (line,) = bad(check_paths(config))
    assert line.startswith("error    ssh: auth.ssh_private_key: there is no file")
    assert "ssh-keygen" in line


def test_a_key_that_others_can_read_is_an_error(config, tmp_path):
    (tmp_path / "key").chmod(0o644)
    (line,) = bad(check_paths(config))
    assert line.endswith(f"ssh refuses such a key. chmod 600 {tmp_path / 'key'}")


def test_a_token_file_that_others_can_read_is_a_warning(config, tmp_path):
    (tmp_path / "auth_token").chmod(0o644)
    (line,) = bad(check_paths(config))
    assert line == (
        f"warning  token: {tmp_path / 'auth_token'} can be read by others. "
        f"chmod 600 {tmp_path / 'auth_token'}"
    )


def test_a_mounted_file_that_is_not_there_is_an_error(config, tmp_path):
    (tmp_path / "auth_token").unlink()
    (line,) = bad(check_paths(config))
    assert line.startswith("error    files: file_mounts: there is no ")
    assert "ray get-auth-token --generate" in line


def test_a_cluster_file_is_known_by_its_keys(tmp_path):
    assert cluster_file(LOCAL) is not None
    assert cluster_file(LOCAL.parents[1] / "search_spaces" / "digits.yaml") is None
    assert cluster_file(tmp_path / "nothing.yaml") is None
    (tmp_path / "broken.yaml").write_text("a: [")
    assert cluster_file(tmp_path / "broken.yaml") is None


def test_a_file_of_kubernetes_is_sent_elsewhere():
    with pytest.raises(UserError, match="doctor --address"):
        cluster_file(LOCAL.parent / "kuberay" / "rayjob.yaml")
