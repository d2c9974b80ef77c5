"""The cluster files of `ray up`: against Ray's own schema, and against a list of what may stand
below `provider` and `node_config`, where Ray's schema lets every typo through."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER = Path(__file__).parents[3] / "cluster"
FILES = ("local", "aws", "gcp")

PROVIDER = {
    "local": {"type", "head_ip", "worker_ips", "external_head_ip"},
    "aws": {
        *("type", "region", "availability_zone", "cache_stopped_nodes", "use_internal_ips"),
        *("security_group", "key_pair", "aws_credentials"),
    },
    "gcp": {
        *("type", "region", "availability_zone", "project_id", "cache_stopped_nodes"),
        *("use_internal_ips", "gcp_credentials"),
    },
}
"""The keys that Ray 2.60's node providers read."""

Keys = dict[str, "Keys | None"]
"""What may stand below a key; None: a value, or anything."""

NODE: dict[str, Keys] = {
    # EC2's RunInstances, and Ray's own SubnetIds
    "aws": {
        "InstanceType": None,
        "ImageId": None,
        "KeyName": None,
        "SecurityGroupIds": None,
        "SubnetIds": None,
        "IamInstanceProfile": {"Arn": None, "Name": None},
        "BlockDeviceMappings": {
            "DeviceName": None,
            "Ebs": {
                "VolumeSize": None,
                "VolumeType": None,
                "Encrypted": None,
                "DeleteOnTermination": None,
                "Iops": None,
                "Throughput": None,
            },
        },
        "MetadataOptions": {
            "HttpTokens": None,
            "HttpEndpoint": None,
            "HttpPutResponseHopLimit": None,
        },
        "InstanceMarketOptions": {"MarketType": None, "SpotOptions": {"MaxPrice": None}},
    },
    # Compute Engine's instances.insert
    "gcp": {
        "machineType": None,
        "disks": {
            "boot": None,
            "autoDelete": None,
            "type": None,
            "initializeParams": {"diskSizeGb": None, "sourceImage": None, "diskType": None},
        },
        "metadata": {"items": {"key": None, "value": None}},
        "scheduling": {
            "provisioningModel": None,
            "instanceTerminationAction": None,
            "onHostMaintenance": None,
            "automaticRestart": None,
        },
        "guestAccelerators": {"acceleratorType": None, "acceleratorCount": None},
        "networkInterfaces": {"network": None, "subnetwork": None},
        "serviceAccounts": {"email": None, "scopes": None},
    },
}


def problems(config: dict[str, Any]) -> list[str]:
    """What Ray's schema or the lists above have against a cluster file."""
    kind = config["provider"]["type"]
    found = [f"provider.{key}" for key in config["provider"].keys() - PROVIDER[kind]]
    for name, node in config.get("available_node_types", {}).items():
        found += unknown(node["node_config"], NODE[kind], name)
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except (jsonschema.ValidationError, click.ClickException, ValueError) as error:
        found.append(str(error))
    return found


def unknown(value: Any, known: Keys | None, path: str) -> list[str]:
    if known is None:
        return []
    if isinstance(value, list):
        return [word for item in value for word in unknown(item, known, path)]
    wrong = [f"{path}.{key}" for key in value.keys() - known.keys()]
    below = [unknown(value[key], known[key], f"{path}.{key}") for key in value.keys() & known]
    return wrong + [word for words in below for word in words]


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text("utf-8"))
    return config


@pytest.mark.parametrize("name", FILES)
def test_a_cluster_file_is_valid(name):
    assert problems(load(name)) == []


@pytest.mark.parametrize(
    ("name", "path", "key"),
    [
        ("local", "", "worker_setup_command"),
        ("local", "auth", "ssh_port"),
        ("local", "provider", "head_address"),
        ("aws", "provider", "availabilty_zone"),
        ("aws", "available_node_types.gpu", "max_worker"),
        ("aws", "available_node_types.gpu.node_config", "InstanceMarketOption"),
        ("aws", "available_node_types.gpu.node_config.InstanceMarketOptions", "Markettype"),
        ("gcp", "available_node_types.gpu.node_config", "machinetype"),
        ("gcp", "available_node_types.gpu.node_config.scheduling", "provisioning"),
        ("gcp", "available_node_types.gpu.node_config.disks.0.initializeParams", "diskSizeGB"),
    ],
)
def test_a_typo_in_a_cluster_file_is_seen(name, path, key):
    config = load(name)
    place: Any = config
    for part in filter(None, path.split(".")):
        place = place[int(part)] if part.isdigit() else place[part]
    place[key] = "x"
    assert problems(config)


@pytest.mark.parametrize("name", FILES)
def test_every_node_wants_the_token_and_the_dashboard_stays_on_loopback(name):
    config = load(name)
    (head,) = [c for c in config["head_start_ray_commands"] if "ray start" in c]
    (worker,) = [c for c in config["worker_start_ray_commands"] if "ray start" in c]
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in (CLUSTER / f"{name}.yaml").read_text("utf-8")
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]


@pytest.mark.parametrize("name", FILES)
def test_no_secret_is_copied_with_the_folder(name):
    assert {".env", ".git", "runs"} <= set(load(name)["rsync_exclude"])


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_gpu_workers_start_at_none_and_are_spot(name):
    gpu = load(name)["available_node_types"]["gpu"]
    assert gpu["min_workers"] == 0 < gpu["max_workers"]
    assert "spot" in str(gpu["node_config"]).lower()
