"""Checks of a cluster file of `ray up`: against Ray's own schema, its token, the files that it
names on this machine. What stands below `node_config` only the cloud knows."""

from __future__ import annotations

import copy
import json
import logging
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysel.common.errors import nearest
from raysel.service.doctor.finding import GENERATE, Finding, capital, error, ok, warning

if TYPE_CHECKING:
    from jsonschema import ValidationError

_LOCAL = {"type", "head_ip", "worker_ips", "external_head_ip"}
"""The keys that Ray reads of a provider of one's own machines; its schema lets a typo through."""

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
    found = list(_against_schema(config))
    for key in config["provider"] if config["provider"].get("type") == "local" else ():
        if key not in _LOCAL:
            hint = capital(nearest(str(key), _LOCAL))
            found.append(error("file", f"provider.{key}: Ray does not read it", hint))
    return found or [ok("file", "its keys are those that Ray knows")]


def _against_schema(config: Mapping[str, Any]) -> Iterator[Finding]:
    import click  # noqa: PLC0415
    from jsonschema import ValidationError  # noqa: PLC0415
    from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: PLC0415

    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)  # it tells what it fills in
    try:
        validate_config(prepare_config(copy.deepcopy(dict(config))))
    except ValidationError as wrong:
        path = ".".join(map(str, wrong.absolute_path))
        words = f"{path}: {wrong.message}" if path else wrong.message
        known = wrong.schema.get("properties", {}) if wrong.validator == _ADDED else {}
        given = [key for key in wrong.instance if key not in known] if known else []
        hint = nearest(str(given[0]), known) if given else "ray-schema.json in Ray's autoscaler"
        yield error("file", words.splitlines()[0][:200], capital(hint))
    except (click.ClickException, *_FALLS) as wrong:
        words = str(getattr(wrong, "message", wrong)).splitlines()
        yield error("file", words[0] if words else "Ray refuses it", "Fix the file")


_FALLS = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError)
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


def check_paths(config: Mapping[str, Any]) -> list[Finding]:
    """Whether they are there, and closed to others where they are secrets.

    `ray up` reads a relative path from the folder in which it is called, and so do we.
    """
    found = _of_key((config.get("auth") or {}).get("ssh_private_key"))
    for source in (config.get("file_mounts") or {}).values():
        found += _of_mount(str(source))
    return found or [ok("files", "key and mounted files are here")]


def _of_key(given: str | None) -> list[Finding]:
    if given is None:
        return []
    path = Path(given).expanduser()
    if not path.is_file():
        remedy = f"ssh-keygen -t ed25519 -f {given}, then ssh-copy-id -i {given} to every node"
        return [error("ssh", f"auth.ssh_private_key: there is no file {given}", remedy)]
    if _open(path):
        words = f"{given} can be read by others: ssh refuses such a key"
        return [error("ssh", words, f"chmod 600 {given}")]
    return []


def _of_mount(source: str) -> list[Finding]:
    path = Path(source).expanduser()
    token = path.name == "auth_token"
    if not path.exists():
        remedy = GENERATE if token else "Make it, or take it out of file_mounts"
        return [error("files", f"file_mounts: there is no {source} on this machine", remedy)]
    if token and _open(path):
        return [warning("token", f"{source} can be read by others", f"chmod 600 {source}")]
    return []


def _open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
