"""What a machine tells of itself: on this one, and as a script that has no raysel beside it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
import torch

from raysel.engine import node_probe
from raysel.service.doctor.collect import parse_facts
from raysel.service.doctor.machine import PACKAGES, machine


@pytest.fixture(autouse=True)
def token(tmp_path, monkeypatch):
    """A token file of the test's own."""
    path = tmp_path / "auth_token"
    path.write_text("secret-of-the-test")
    path.chmod(0o640)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    return path


def test_the_facts_are_those_of_this_machine(tmp_path, token):
    mine = machine("here", node_probe.facts(list(PACKAGES), [str(tmp_path / "not" / "there")]))
    assert mine.versions["python"] == platform.python_version()
    assert mine.versions["ray"] == ray.__version__
    assert mine.versions["torch"] == torch.__version__
    (disk,) = mine.disks.values()
    assert disk.total == shutil.disk_usage(tmp_path).total
    assert (mine.token.mode, mine.token.permissions) == ("token", 0o640)
    assert mine.token.path == str(token)
    assert abs(node_probe.now() - time.time()) < 1


def test_a_package_that_is_not_there_is_left_out():
    assert "no-such-package" not in node_probe.facts(["no-such-package"], [])["versions"]


def test_torch_is_asked_where_gpus_are_expected():
    answer = node_probe.facts([], [], gpus=1)["cuda"]
    assert answer == {"devices": torch.cuda.device_count(), "build": torch.version.cuda} | {
        "error": None
    }


def test_as_a_script_on_standard_input_it_needs_the_standard_library_only(tmp_path):
    question = json.dumps({"packages": ["ray", "raysel"], "places": [str(tmp_path)]})
    ran = subprocess.run(
        # isolated, without site-packages: what is installed here is not seen
        [sys.executable, "-I", "-S", "-", question],
        input=Path(node_probe.__file__).read_text(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    reported = parse_facts("Welcome to this machine!\n" + ran.stdout)
    assert reported["versions"] == {"python": platform.python_version()}
    assert set(reported["disks"]) == {str(tmp_path)}


def test_no_secret_is_reported():
    assert "secret-of-the-test" not in json.dumps(node_probe.facts(list(PACKAGES), ["/tmp"]))


def test_an_answer_is_found_among_other_lines():
    assert parse_facts(f'hello\n{node_probe.MARK}{{"a": 1}}\nbye') == {"a": 1}
    assert parse_facts("hello") is None
    assert parse_facts(f"{node_probe.MARK}{{broken") is None


@pytest.mark.parametrize("kind", ["folder", "uri"])
def test_what_is_written_into_a_storage_is_read_again_and_taken_away(tmp_path, kind):
    folder = tmp_path / "runs"
    folder.mkdir()
    storage = str(folder) if kind == "folder" else folder.as_uri()
    assert node_probe.write_mark(storage, "a") == ""
    reported = node_probe.read_marks(storage, ["a", "b"])
    assert reported["a"] == ""
    assert (
        "No such file" in reported["b"] or "not exist" in reported["b"] or "Failed" in reported["b"]
    )
    (folder / "a").write_text("other")
    assert node_probe.read_marks(storage, ["a"])["a"] == "has another content than was written"
    node_probe.remove_mark(storage, "a")
    assert not (folder / "a").exists()


def test_a_folder_that_the_probe_made_is_gone_afterwards(tmp_path):
    folder = tmp_path / "runs"
    node_probe.write_mark(str(folder), "a")
    node_probe.remove_mark(str(folder), "a")
    assert not folder.exists()


def test_a_storage_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    assert node_probe.write_mark(str(tmp_path / "file" / "runs"), "a") == "Not a directory"
    assert "no-such-scheme" in node_probe.write_mark("no-such-scheme://bucket/x", "a")
