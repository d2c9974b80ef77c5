"""A cluster file of `ray up`: against Ray's own schema, and against a list of what may stand below
`provider` and `node_config`, where Ray's schema lets every typo through."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysel.common.errors import nearest
from raysel.service.doctor.checks.token import GENERATE
from raysel.service.doctor.finding import Finding, error, ok, warning

if TYPE_CHECKING:
    from jsonschema import ValidationError

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

AUTOSCALER = "RAY_UP_enable_autoscaler_v2"


_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "object": "keys with values",
    "string": "text",
}


def check_kinds(config: Mapping[str, Any]) -> list[Finding]:
    """Values of another kind than Ray's schema has them: a list in the place of keys, an empty one.

    Ray fills in its defaults before it looks, and falls over such a value; so would the checks.
    """
    import ray.autoscaler  # noqa: PLC0415
    from jsonschema.validators import validator_for  # noqa: PLC0415

    text = (Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    wrong = [w for w in validator_for(schema)(schema).iter_errors(config) if w.validator == "type"]
    return [_of_kind(one) for one in wrong]


def _of_kind(wrong: ValidationError) -> Finding:
    message = "is left empty" if wrong.instance is None else wrong.message.splitlines()[0][:200]
    remedy = f"Give {_KINDS.get(str(wrong.validator_value), 'a value')}, or take the line out"
    return error("file", f"{'.'.join(map(str, wrong.absolute_path))}: {message}", remedy)


def check_grammar(config: Mapping[str, Any]) -> list[Finding]:
    """Unknown keys, wrong types, counts that cannot be."""
    kind = config["provider"].get("type")
    if kind not in PROVIDER:
        words = f'provider.type: "{kind}" is not looked at here'
        return [warning("file", words, f"raysel has templates for {', '.join(PROVIDER)}")]
    found = list(_unknown(config["provider"], dict.fromkeys(PROVIDER[kind]), "provider"))
    for name, node in (config.get("available_node_types") or {}).items():
        path = f"available_node_types.{name}.node_config"
        found += _unknown(node.get("node_config") or {}, NODE.get(kind), path)
    found += _against_schema(config)
    return found or [ok("file", "its keys are those that Ray knows")]


def _unknown(value: Any, known: Keys | None, path: str) -> Iterator[Finding]:
    if known is None:
        return
    if isinstance(value, list):
        for item in value:
            yield from _unknown(item, known, path)
        return
    if not isinstance(value, Mapping):
        yield error("file", f"{path}: has no keys", f"There is {', '.join(known)}")
        return
    for key in value:
        if key in known:
            yield from _unknown(value[key], known[key], f"{path}.{key}")
        else:
            hint = nearest(str(key), known)
            yield error("file", f"{path}.{key}: Ray does not read it", _capital(hint))


def _against_schema(config: Mapping[str, Any]) -> Iterator[Finding]:
    import click  # noqa: PLC0415
    from jsonschema import ValidationError  # noqa: PLC0415
    from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: PLC0415

    try:
        validate_config(prepare_config(copy.deepcopy(dict(config))))
    except ValidationError as wrong:
        path = ".".join(map(str, wrong.absolute_path))
        words = f"{path}: {wrong.message}" if path else wrong.message
        known = wrong.schema.get("properties", {}) if wrong.validator == _ADDED else {}
        given = [key for key in wrong.instance if key not in known] if known else []
        hint = nearest(str(given[0]), known) if given else "ray-schema.json in Ray's autoscaler"
        yield error("file", words.splitlines()[0][:200], _capital(hint))
    except (click.ClickException, *_FALLS) as wrong:
        words = str(getattr(wrong, "message", wrong)).splitlines()
        yield error("file", words[0] if words else "Ray refuses it", "Fix the file")


_FALLS = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""Exceptions that Ray raises on a file that it has not validated yet."""

_ADDED = "additionalProperties"


def check_security(config: Mapping[str, Any]) -> list[Finding]:
    """Whether every node asks for the token, and the dashboard stays on loopback."""
    found = []
    for role in ("head", "worker"):
        commands = [str(c) for c in config.get(f"{role}_start_ray_commands") or []]
        starts = [command for command in commands if "ray start" in command]
        if not all("RAY_AUTH_MODE=token" in command for command in starts) or not starts:
            words = f"{role}_start_ray_commands start Ray without a token: who reaches it runs code"
            found.append(error("token", words, "Write RAY_AUTH_MODE=token before ray start"))
        if any("dashboard-host=0.0.0.0" in command for command in starts):
            words = "the dashboard listens on every interface"
            remedy = "Give --dashboard-host=127.0.0.1 and come by ssh -L or ray dashboard"
            found.append(warning("token", words, remedy))
    if not any("auth_token" in str(target) for target in config.get("file_mounts") or {}):
        words = "no token is mounted: the nodes could not talk to each other"
        remedy = f"{GENERATE}; file_mounts: {{~/.ray/auth_token: ~/.ray/auth_token}}"
        found.append(error("token", words, remedy))
    return found or [ok("token", "asked for by head and workers")]


def check_autoscaler(config: Mapping[str, Any], environment: Mapping[str, str]) -> list[Finding]:
    """Ray 2.60's second autoscaler starts no worker of a local cluster, and says nothing."""
    local = config["provider"].get("type") == "local"
    wants_workers = local and bool(config["provider"].get("worker_ips"))
    if not wants_workers or environment.get(AUTOSCALER) == "0":
        return []
    words = "with Ray's second autoscaler the workers of a local cluster never start"
    return [warning("autoscaler", words, f"{AUTOSCALER}=0 ray up FILE")]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
