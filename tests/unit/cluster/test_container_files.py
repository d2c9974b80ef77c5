"""The Dockerfile and compose.yaml: linted, parsed with the compose specification, and never run.
Published on loopback alone, without root, every password from the environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

CLUSTER = Path(__file__).parents[3] / "cluster"
DOCKERFILE = CLUSTER / "Dockerfile"
COMPOSE = CLUSTER / "compose.yaml"


def lint(dockerfile: str) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).parent / "hadolint"
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    assert program, "hadolint is in the extra `test`"
    # DL3008: Debian keeps one version of a package; a pin would break with each security update
    return subprocess.run(
        [program, "--no-color", "--ignore", "DL3008", "-"],
        input=dockerfile,
        capture_output=True,
        text=True,
    )


def test_the_dockerfile_has_no_finding():
    done = lint(DOCKERFILE.read_text("utf-8"))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [("COPY raysel", "ADD raysel"), ("USER 1000:1000", "USER root"), ("RUN pip", "RUNN pip")],
)
def test_the_linter_sees_a_mistake(before, after):
    text = DOCKERFILE.read_text("utf-8")
    assert before in text
    assert lint(text.replace(before, after)).returncode != 0


def stages() -> dict[str, list[str]]:
    """Instructions of the Dockerfile by stage, continued lines joined."""
    text = re.sub(r"\\\n\s*(#.*\n\s*)*", " ", DOCKERFILE.read_text("utf-8"))
    found: dict[str, list[str]] = {"": []}
    for line in (line.strip() for line in text.splitlines()):
        if line.startswith("FROM "):
            found[line.split(" AS ")[1]] = []
        elif line and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


@pytest.mark.parametrize("stage", ["tracking", "node"])
def test_an_image_ends_as_a_user_who_is_not_root(stage):
    users = [line.split()[1] for line in stages()[stage] if line.startswith("USER")]
    assert users[-1] == "1000:1000"


def test_every_install_is_pinned_by_the_constraints():
    installs = [line for lines in stages().values() for line in lines if "pip install" in line]
    assert len(installs) == 3
    assert all("-c /opt/raysel/constraints.txt" in line for line in installs)


def test_the_device_is_a_build_argument():
    assert "ARG DEVICE=cpu" in stages()["node"]
    assert sum("${DEVICE}" in line for line in stages()["node"]) == 1


def test_what_the_dockerfile_copies_is_let_in():
    allowed = (CLUSTER / "Dockerfile.dockerignore").read_text("utf-8").split()
    assert allowed[0] == "*"
    copied = [line.split()[1:-1] for lines in stages().values() for line in lines if "COPY" in line]
    for name in {name for names in copied for name in names}:
        assert f"!{name}" in allowed
        assert (CLUSTER.parent / name).exists()


# --- compose.yaml -------------------------------------------------------------------------------


def check(document: dict[str, Any]) -> None:
    """Raise where the document is not as the compose specification says."""
    parsed = compose_spec.PyCompose.from_yaml(yaml.safe_dump(document))
    parsed.validate()
    parsed.to_spec()


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return document


def test_the_compose_file_is_valid():
    check(compose())


@pytest.mark.parametrize(
    ("service", "key"), [("mlflow", "enviroment"), ("minio", "port"), ("postgres", "health_check")]
)
def test_a_typo_in_the_compose_file_is_seen(service, key):
    document = compose()
    document["services"][service][key] = ["x"]
    with pytest.raises(ValueError, match=key):
        check(document)


def test_ports_are_published_on_loopback_alone():
    ports = [
        port for service in compose()["services"].values() for port in service.get("ports", [])
    ]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_password_comes_from_the_environment_and_none_has_a_default():
    secret = re.compile("PASSWORD|SECRET|ACCESS_KEY|ROOT_USER")
    found = [
        (key, value)
        for service in compose()["services"].values()
        for key, value in service.get("environment", {}).items()
        if secret.search(key)
    ]
    assert len(found) >= 8
    for _, value in found:
        assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value)
    wanted = {re.match(r"\$\{(\w+)", value).group(1) for _, value in found}
    example = (CLUSTER / ".env.example").read_text("utf-8")
    given = dict(line.split("=", 1) for line in example.splitlines() if not line.startswith("#"))
    assert given == dict.fromkeys(wanted, "")


def test_no_url_holds_a_password():
    assert not re.search(r"://[^/\s]*:[^/\s]*@", COMPOSE.read_text("utf-8"))


def test_services_have_limits_and_servers_a_health_check():
    services = compose()["services"]
    assert all("limits" in s["deploy"]["resources"] for s in services.values())
    assert all("no-new-privileges:true" in s["security_opt"] for s in services.values())
    for name in ("postgres", "minio", "mlflow"):
        assert services[name]["healthcheck"]["test"]
        assert services[name]["stop_grace_period"]


def test_mlflow_asks_for_a_user_and_a_password():
    assert "basic-auth" in " ".join(stages()["tracking"])
    assert "mlflow_users" in compose()["configs"]["mlflow-users"]["content"]
