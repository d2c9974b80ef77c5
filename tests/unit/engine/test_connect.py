"""Nodes that are there and that may start, Ray's own start, and its folder for sockets."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray import JobID
from ray._private import worker

from raysel.cli import main
from raysel.common.errors import OperationalError, UserError
from raysel.engine import connect, node_probe
from raysel.engine.capacity import Node
from raysel.engine.connect import (
    MOST_BYTES,
    check_ray_folder,
    check_reachable,
    connected,
    grows,
    with_possible_nodes,
)
from raysel.service.doctor.examine import check_cluster

FILE = """
max_workers: 6
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}}
  cpu: {max_workers: 2, resources: {CPU: 8}}
  gpu: {max_workers: 9, resources: {CPU: 4, GPU: 1}, labels: {zone: a}}
  none: {max_workers: 0, resources: {CPU: 4}}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The head's home folder, with the file that `ray up` leaves there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ray_bootstrap_config.yaml").write_text(FILE)
    return tmp_path


def may_start(*kinds: str) -> list[Node]:
    """What may still start where workers of these kinds run."""
    there = [
        {"head": False, "alive": True, "resources": {}, "labels": {"ray.io/node-group": kind}}
        for kind in kinds
    ]
    return with_possible_nodes(there, node_probe.may_grow()["kinds"])[len(there) :]


def test_kinds_are_counted_without_those_that_are_up(home: Path):
    assert may_start("", "cpu", "gpu") == [
        Node("cpu", {"CPU": 8.0}, {}, 1),
        Node("gpu", {"CPU": 4.0, "GPU": 1.0}, {"zone": "a"}, 5),
    ]


def test_all_of_a_kind_up_leaves_none_of_it(home: Path):
    assert [node.name for node in may_start("cpu", "cpu")] == ["gpu"]


def test_of_the_file_nothing_else_is_reported(home: Path):
    with (home / "ray_bootstrap_config.yaml").open("a") as file:
        file.write("auth: {password: planted}\n")
    assert "planted" not in json.dumps(node_probe.may_grow())


@pytest.mark.parametrize("text", ["- 1", "available_node_types: 3", "max_workers: x"])
def test_a_cluster_without_such_a_file_does_not_grow(home: Path, text: str):
    (home / "ray_bootstrap_config.yaml").write_text(text)
    assert may_start() == []
    (home / "ray_bootstrap_config.yaml").unlink()
    assert may_start() == []


def test_only_kuberays_autoscaler_brings_nodes_of_which_nothing_is_known(monkeypatch):
    monkeypatch.delenv("RAY_enable_autoscaler_v2", raising=False)
    assert not grows()
    monkeypatch.setenv("RAY_enable_autoscaler_v2", "1")
    assert grows()


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_head_that_is_gone_is_reported_at_once(closed, scheme):
    with pytest.raises(OperationalError, match="does not answer") as reported:
        check_reachable(scheme + closed)
    assert closed in str(reported.value) and "\n" not in str(reported.value)


@pytest.mark.parametrize("address", ["auto", "http://127.0.0.1:8265", "nonsense"])
def test_what_is_no_host_and_port_is_left_to_ray(address):
    check_reachable(address)


def test_what_ray_says_of_a_cluster_that_cannot_be_joined_is_one_line(monkeypatch):
    def refused(**_: object) -> None:
        raise ConnectionError("version mismatch\nand more")

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(ray, "init", refused)
    with (
        pytest.raises(OperationalError, match=r"cannot be joined \(version mismatch\)"),
        connected(),
    ):
        pass


SLOW = "The current node timed out during startup."


@pytest.fixture
def slow_to_start(monkeypatch):
    """Ray's processes do not answer in time, so often; what is left of them is ended."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a token")
    monkeypatch.setattr(connect.ray_env, "TOO_LATE", False)
    ended = []
    monkeypatch.setattr(connect, "end_family", lambda: ended.append(True))

    def begin(times: int) -> list[bool]:
        def init(**_: object) -> None:
            if len(ended) < times:
                raise Exception(SLOW)

        monkeypatch.setattr(ray, "init", init)
        return ended

    return begin


def test_a_ray_that_was_slow_to_start_is_started_once_more(slow_to_start, monkeypatch):
    monkeypatch.setattr(ray, "nodes", list)
    ended = slow_to_start(1)
    with connected() as nodes:
        assert nodes == []
    assert len(ended) == 1


def test_a_ray_that_does_not_start_is_one_line(slow_to_start):
    ended = slow_to_start(2)
    refused = pytest.raises(OperationalError, match=r"did not start, tried 2 times \(The current")
    with refused as reported, connected():
        pass
    assert len(ended) == 2
    assert "\n" not in str(reported.value)


def test_the_doctor_reports_of_it_as_a_finding(monkeypatch, closed):
    monkeypatch.setenv("RAY_ADDRESS", closed)
    (found,) = check_cluster(None)
    assert found.level == "error" and "does not answer" in found.line()


def test_ray_is_silent_on_a_failed_task_that_nobody_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_IGNORE_UNHANDLED_ERRORS", raising=False)
    shown: list[Exception] = []
    monkeypatch.setattr(worker, "_unhandled_error_handler", shown.append)
    error = RuntimeError("the folder is gone")
    asked = SimpleNamespace(deserialize_objects=lambda *_: [error])
    worker.Worker.raise_errors(asked, [], [])
    assert shown == [error]  # Ray's own way
    connect.ray_env.prepare(os.environ, imported=True)
    worker.Worker.raise_errors(asked, [], [])
    assert shown == [error]


def test_the_log_of_a_raylet_that_ended_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, slow_to_start, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray, "nodes", list)
    slow_to_start(0)

    def publish(line: str) -> str:
        """What is printed of an error that a process of Ray publishes."""
        published = {"job_id": None, "error_message": line}
        answers = iter([(None, published)])
        stopped = threading.Event()

        def poll() -> object:
            stopped.set()
            return next(answers)

        subscriber = SimpleNamespace(subscribe=lambda: None, poll=poll)
        driver = SimpleNamespace(gcs_error_subscriber=subscriber, current_job_id=JobID.nil())
        worker.listen_error_messages(driver, stopped)
        return capsys.readouterr().out

    with connected():
        assert publish("[state-dump] of a raylet") == ""
    assert "[state-dump] of another" in publish("[state-dump] of another")  # Ray's own way


def longest(folder: str) -> int:
    name = f"session_2026-01-01_00-00-00_000000_{os.getpid()}"
    return len(f"{folder}/ray/{name}/sockets/plasma_store".encode())


def test_the_limit_is_that_of_the_socket_and_not_of_the_folder():
    fits = "/tmp/" + "x" * (MOST_BYTES - longest("/tmp/"))
    assert longest(fits) == MOST_BYTES
    check_ray_folder({"TMPDIR": fits})
    with pytest.raises(
        UserError, match=r"is 1 bytes too long for Ray's sockets; set RAY_TMPDIR=/tmp"
    ):
        check_ray_folder({"TMPDIR": fits + "x"})


def test_what_ray_reads_first_is_what_counts():
    check_ray_folder({"RAY_TMPDIR": "/tmp", "TMPDIR": "/" + "x" * 200})
    check_ray_folder({})
    with pytest.raises(UserError, match=r"^RAY_TMPDIR: "):
        check_ray_folder({"RAY_TMPDIR": "/" + "é" * 100, "TMPDIR": "/tmp"})


def test_a_relative_folder_and_one_below_a_file_are_refused(tmp_path):
    (tmp_path / "f").write_text("")
    short = os.path.relpath(tmp_path, "/")
    for folder, why in (("", "is not an absolute path"), (short, "is not an absolute path")):
        with pytest.raises(UserError, match=why):
            check_ray_folder({"TMPDIR": folder})
    with pytest.raises(UserError, match="/dev/null is not a folder"):
        check_ray_folder({"TMPDIR": "/dev/null/x"})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has /proc")
def test_a_folder_in_which_nothing_can_be_made_is_refused_and_not_tried_again():
    with pytest.raises(UserError, match=r"cannot hold Ray's files: .* in /proc; set RAY_TMPDIR="):
        check_ray_folder({"TMPDIR": "/proc"})


SWEEP = """
name: x
task: {data: digits, split: {train: 60, validation: 60, test: 60}}
model: {name: test_resnet}
strategies: {full: }
"""


def test_run_reports_it_before_anything_is_spent(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "x.yaml").write_text(SWEEP)
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'x' * 90}")
    assert main.main(["run", "x.yaml"]) == 2
    reported = capsys.readouterr().err
    assert reported.startswith("error  RAY_TMPDIR: ") and "set RAY_TMPDIR=/tmp" in reported
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]
