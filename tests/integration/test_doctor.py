"""The doctor on a real Ray: one node that this process started, and a head with a token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raysel.service.doctor.access_checks import check_token_modes
from raysel.service.doctor.collect import by_tasks
from raysel.service.doctor.examine import evaluate, machines_of, question
from raysel.service.doctor.finding import Finding
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec

from .conftest import SMALL
from .head import Head

ROOM = "warning  disk"
"""The tests' machine may be short of room; that is then reported, and is true."""


def bad(found: list[Finding]) -> list[str]:
    lines = [one.line() for one in found if one.level != "ok"]
    return [line for line in lines if not line.startswith(ROOM)]


def ask(spec: Spec) -> tuple[dict, list[Finding]]:
    reported = by_tasks(question(spec) | {"seconds": 60.0})
    return reported, evaluate(reported, None, spec)


# --- a node that this process started ----------------------------------------------------------


def test_a_sound_node_is_silent_but_for_ok_lines(ray_cluster, tmp_path):
    reported, found = ask(parse(SMALL, [f"storage={tmp_path}/runs"]))
    assert bad(found) == []
    assert {one.about for one in found} >= {"nodes", "versions", "gpus", "clock", "storage"}
    assert bad(check_token_modes(machines_of(reported))) == []
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    (node,) = reported["nodes"]
    assert node["head"] and node["clock"][1] < 10


def test_a_storage_that_a_node_cannot_write_is_found(ray_cluster, tmp_path):
    (tmp_path / "file").write_text("")
    _, found = ask(parse(SMALL, [f"storage={tmp_path}/file/runs"]))
    (line,) = bad(found)
    assert line.startswith(f"error    storage: {tmp_path}/file/runs: head 127.0.0.1 cannot write")


def test_a_trial_that_is_too_large_for_the_node_is_found(ray_cluster, tmp_path):
    _, found = ask(parse(SMALL, [f"storage={tmp_path}/runs", "resources.cpus=512"]))
    (line,) = bad(found)
    assert line.startswith("error    resources: resources.cpus: a trial asks for 512 CPUs;")


# --- a head behind its job API ------------------------------------------------------------------


@pytest.fixture
def sweep(head: Head) -> Path:
    """A sweep file whose storage is on the head."""
    path = head.home / "sweep.yaml"
    path.write_text(SMALL + f"storage: {head.home}/runs\n")
    return path


def doctor(head: Head, *arguments: str, **environment: str) -> tuple[int, list[dict]]:
    """The exit code, and what was found beside ok and room."""
    mode = {"RAY_AUTH_MODE": "token"} | environment
    code, out, err = head.raysel("doctor", *arguments, "--json", **mode)
    assert not err, err
    findings = [Finding(**one) for one in json.loads(out)["findings"]]
    assert findings, out
    return code, bad(findings)


@pytest.mark.slow
def test_a_sound_head_is_silent_but_for_ok_lines(head, sweep):
    elsewhere = {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}  # the address that is given wins
    code, lines = doctor(head, str(sweep), "--address", head.address, **elsewhere)
    assert (code, lines) == (0, [])


@pytest.mark.slow
def test_a_wrong_token_is_found_on_a_real_head(head):
    code, (line,) = doctor(head, "--address", head.address, RAY_AUTH_TOKEN="f" * 64)
    assert code == 1
    assert line.startswith(f"error    token: {head.address} refuses this machine's token (403)")


@pytest.mark.slow
def test_a_storage_that_the_head_cannot_write_is_found_by_its_job(head, sweep):
    (head.home / "file").write_text("")
    storage = f"{head.home}/file/runs"
    given = (str(sweep), "--address", head.address, "--set", f"storage={storage}")
    code, (line,) = doctor(head, *given)
    assert code == 1
    assert line.startswith(f"error    storage: {storage}: head 127.0.0.1 cannot write")


@pytest.mark.slow
def test_a_machine_without_the_token_is_reported_what_to_do(head):
    nothing = str(head.home / "nothing")
    code, (line,) = doctor(head, "--address", head.address, RAY_AUTH_TOKEN_PATH=nothing)
    assert code == 1
    assert line.endswith(
        "Copy the head's ~/.ray/auth_token here (chmod 600), or set RAY_AUTH_TOKEN"
    )
