"""The verb: what it looks at, what it prints, its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from raysel.cli import main
from raysel.service.doctor import examine
from raysel.service.doctor.finding import Finding, error, ok, warning

AWS = Path(__file__).parents[3] / "cluster" / "aws.yaml"
SWEEP = "name: x\ntask: {data: digits}\nmodel: {name: resnet10t}\nstrategies: {full: }\n"


@pytest.fixture
def findings(monkeypatch) -> list[Finding]:
    """What the doctor finds on this machine; free to be filled."""
    found: list[Finding] = []
    monkeypatch.setattr(examine, "check_local", lambda spec: found)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return found


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([ok("disk", "room")], 0),
        ([ok("disk", "room"), warning("clock", "late", "Set it")], 0),
        ([warning("clock", "late", "Set it"), error("token", "none", "Make one")], 1),
    ],
)
def test_the_exit_code_reports_of_errors_alone(findings, given, code, capsys):
    findings += given
    assert main.main(["doctor"]) == code
    assert capsys.readouterr().out.splitlines() == [one.line() for one in given]


def test_json_holds_every_finding_whole(findings, capsys):
    findings.append(error("token", "none", "Make one"))
    assert main.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "findings": [{"level": "error", "about": "token", "words": "none", "remedy": "Make one"}]
    }


def test_a_cluster_file_is_looked_at_as_one(tmp_path, capsys):
    content = yaml.safe_load(AWS.read_text("utf-8"))
    content["file_mounts"] = {"~/.ray/auth_token": str(tmp_path)}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    assert main.main(["doctor", str(file)]) == 0
    content["worker_setup_command"] = []
    file.write_text(yaml.safe_dump(content))
    assert main.main(["doctor", str(file)]) == 1
    assert 'Did you mean "worker_setup_commands"?' in capsys.readouterr().out


def test_a_cluster_file_goes_without_an_address(capsys):
    assert main.main(["doctor", str(AWS), "--address", "http://head:8265"]) == 2
    assert "is a cluster file" in capsys.readouterr().err


def test_a_broken_sweep_file_is_a_mistake_of_the_user(tmp_path, capsys):
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.replace("full", "fulll"))
    assert main.main(["doctor", str(file)]) == 2
    assert "strategies.fulll" in capsys.readouterr().err


def test_an_address_is_asked_for_the_sweep_of_the_file(tmp_path, monkeypatch, capsys):
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    asked = []
    monkeypatch.setattr(examine, "check_endpoint", lambda *given: asked.append(given) or [])
    assert main.main(["doctor", str(file), "--address", "http://head:8265"]) == 0
    ((address, spec),) = asked
    assert (address, spec.name) == ("http://head:8265", "x")


def test_this_machine_is_looked_at_without_anything_given(monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main.main(["doctor"]) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines} >= {"versions:", "disk:", "gpus:"}
