"""The verbs of a cluster on the command line: what is printed, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dashboard_kit import dashboard

from raysel.cli.main import main

SWEEP = """
name: digits
task: {data: digits}
model: {name: test_resnet}
strategies: {linear_probe: }
search: {num_trials: 2}
storage: /mnt/of/the/cluster/alone
"""


@pytest.fixture(autouse=True)
def no_cluster_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    return str(path)


@pytest.mark.parametrize("verb", ["status", "logs", "fetch"])
def test_without_an_address_it_is_said_what_to_give(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "digits"]) == 2
    assert capsys.readouterr().err.startswith("error  --address: is missing")


@pytest.mark.parametrize("verb", ["stop", "resume"])
def test_an_unknown_sweep_is_a_mistake(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with dashboard() as url:
        assert main([verb, "digits", "--address", url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error  digits: {url} has no such job; it has none"


def test_a_cluster_without_sweeps_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with dashboard() as url:
        assert main(["list", "--address", url]) == 0
        assert main(["list", "--json", "--address", url]) == 0
        first, *rest = capsys.readouterr().out.splitlines()
        assert first == f"{url} has no sweep"
        assert json.loads("".join(rest)) == {"address": url, "jobs": []}


def test_the_status_of_a_job_that_failed_at_its_import(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = "Traceback (most recent call last):\n  import it\nModuleNotFoundError: No module 'it'\n"
    with dashboard(failed=("digits-1a-r1", 1, log)) as url:
        assert main(["status", "digits-1a-r1", "--address", url]) == 1
        assert capsys.readouterr().out.splitlines() == ["digits-1a-r1 · FAILED", *log.splitlines()]
        assert main(["status", "digits-1a-r1", "--json", "--address", url]) == 1
        reported = json.loads(capsys.readouterr().out)
    assert (reported["state"], reported["exit_code"], reported["log"]) == (
        "FAILED",
        1,
        log.splitlines(),
    )


def test_a_missing_token_is_one_line_and_no_usage_error(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with dashboard(token="t") as url:
        assert main(["submit", file, "--address", url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "401" in line and "set RAY_AUTH_TOKEN" in line


def test_an_open_cluster_gets_neither_sweep_nor_password(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "planted")
    with dashboard() as url:
        assert main(["submit", file, "--address", url]) == 1
    reported = capsys.readouterr().err
    assert (
        "PGPASSWORD not sent" in reported
        and "--open-cluster" in reported
        and "planted" not in reported
    )


def test_a_mistake_in_the_file_is_reported_before_anybody_is_asked(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["submit", file, "--address", "http://127.0.0.1:1", "--set", "training.epochs=0"]
    assert main(wrong) == 2
    assert capsys.readouterr().err.startswith("error  training.epochs")


@pytest.mark.parametrize("storage", ["s3://key:planted@bucket/runs", "s3:///runs"])
def test_a_bucket_that_cannot_be_used_is_not_sent(
    storage: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["submit", file, "--address", "http://127.0.0.1:1", "--set", f"storage={storage}"]
    assert main(wrong) == 2
    reported = capsys.readouterr().err
    assert reported.startswith("error  storage") and "planted" not in reported


def test_a_variable_that_is_not_there_cannot_go_along(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with dashboard() as url:
        assert main(["submit", file, "--address", url, "--env", "NOT_SET"]) == 2
    assert "--env: NOT_SET is not set here" in capsys.readouterr().err


def test_a_backup_is_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", "digits", "--from-backup", "--address", "http://127.0.0.1:1"]) == 2
    assert "--from-backup" in capsys.readouterr().err
