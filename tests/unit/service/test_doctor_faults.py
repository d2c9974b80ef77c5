"""Faults planted in a cluster: each is found, alone, with its remedy; a sound one is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cluster_kit import GIB, URI, cluster, found, node, sweep, worst

from raysel.engine.capacity import Node
from raysel.service.doctor.sweep_checks import check_resources
from raysel.spec.sweep import ResourcesSpec

Plant = Callable[[dict[str, Any]], None]


def worker(reported: dict[str, Any]) -> dict[str, Any]:
    """The node 10.0.0.3."""
    return reported["nodes"][0]


def set_in(*path: str, to: Any) -> Plant:
    """Change one thing that the worker tells."""

    def plant(reported: dict[str, Any]) -> None:
        place = worker(reported)
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return plant


def drop(package: str) -> Plant:
    return lambda reported: worker(reported)["facts"]["versions"].pop(package)


def tracker(error: str, version: str = "") -> Plant:
    def plant(reported: dict[str, Any]) -> None:
        reported["tracker"] = {"error": error, "words": "", "version": version}

    return plant


def disk(used: float, free: float) -> Plant:
    full = {"total": int((used + free) * GIB), "used": int(used * GIB), "free": int(free * GIB)}
    return set_in("facts", "disks", "/tmp", to=full)


def cpu_torch(reported: dict[str, Any]) -> None:
    worker(reported)["facts"]["cuda"] = {"devices": 0, "build": None, "error": None}


def lost(reported: dict[str, Any]) -> None:
    reported["nodes"].append(node("worker", 9) | {"alive": False, "lost": True, "facts": None})


W = "worker 10.0.0.3"

FAULTS: dict[str, tuple[Plant, str]] = {
    "other ray": (
        set_in("facts", "versions", "ray", to="2.58.0"),
        f"error    versions: {W} has ray 2.58.0, the head 10.0.0.2 2.60.0. Install ray 2.60.0",
    ),
    "other python": (
        set_in("facts", "versions", "python", to="3.12.1"),
        f"error    versions: {W} has python 3.12.1, the head 10.0.0.2 3.11.7. Install python",
    ),
    "other torch": (
        set_in("facts", "versions", "torch", to="0.9"),
        f"warning  versions: {W} has torch 0.9, the head 10.0.0.2 1.0. Install torch 1.0 there",
    ),
    "missing package": (
        drop("timm"),
        f"error    packages: {W} lacks timm. Install it there: pip install timm",
    ),
    "full disk": (
        disk(499.5, 0.5),
        f"error    disk: {W} has 0.5 GiB free in /tmp (100% used). Make room there",
    ),
    "disk above Ray's bound": (
        disk(970, 30),
        f"error    disk: {W} has 30.0 GiB free in /tmp (97% used). Make room there: Ray keeps",
    ),
    "little room": (
        disk(20, 3),
        f"warning  disk: {W} has 3.0 GiB free in /tmp (87% used). Make room there before",
    ),
    "small shared memory": (
        set_in("facts", "shared_memory", to={"total": 64 * 2**20, "used": 0, "free": 64 * 2**20}),
        f"warning  shared memory: {W} has 0.1 GiB in /dev/shm, Ray's object store wants 8.0 GiB"
        " and goes to the disk. Give the container more (docker --shm-size=8g,",
    ),
    "clock skew": (
        set_in("clock", to=[-95.0, 0.1]),
        f"error    clock: {W} is 95 s behind. Let it keep time: timedatectl set-ntp true",
    ),
    "a little clock skew": (
        set_in("clock", to=[4.0, 0.1]),
        f"warning  clock: {W} is 4 s ahead. Let it keep time",
    ),
    "GPU that torch does not see": (
        cpu_torch,
        f"error    gpus: {W}: Ray hands out 1, torch sees 0. Install a torch that is built",
    ),
    "GPU that Ray does not see": (
        set_in("resources", "GPU", to=0),
        f"warning  gpus: {W}: torch sees 1, Ray none. Start Ray there with --num-gpus=1",
    ),
    "unwritable storage": (
        set_in("written", to="Read-only file system"),
        f"error    storage: /mnt/share: {W} cannot write (Read-only file system). Mount it there",
    ),
    "hanging storage": (
        set_in("written", to=None),
        f"error    storage: /mnt/share: {W} did not answer in time. Look at that mount",
    ),
    "storage that is not shared": (
        set_in("read", "head 10.0.0.2", to="No such file or directory"),
        f"warning  storage: /mnt/share is not the same on all nodes: {W} cannot read what head"
        " 10.0.0.2 wrote (No such file or directory). Mount one folder everywhere",
    ),
    "token file that others read": (
        set_in("facts", "token", "permissions", to=0o644),
        f"warning  token: /home/ray/.ray/auth_token on {W} can be read by others (0644). chmod 600",
    ),
    "MLflow down": (
        tracker(f"{URI} does not answer"),
        f"error    mlflow: {URI} does not answer. Start it, or look at tracking.uri",
    ),
    "host not allowed": (
        tracker(
            f"{URI} is not to be called by this name (403);"
            " start it with --allowed-hosts mlflow:5000"
        ),
        f"error    mlflow: {URI} is not to be called by this name (403). Start it with"
        " --allowed-hosts mlflow:5000",
    ),
    "another MLflow": (
        tracker("", version="2.9.1"),
        f"warning  mlflow: {URI} is MLflow 2.9.1, ours is 1.0. Install mlflow 2.9.1 on the head",
    ),
    "node that does not answer": (
        set_in("facts", to=None),
        f"error    nodes: {W} does not run a task within 30 s. Look at its raylet.out",
    ),
    "node that was lost": (
        lost,
        "warning  nodes: lost: worker 10.0.0.9. Start Ray there again if the machine is there",
    ),
}


def test_a_sound_cluster_has_only_ok_lines_each_about_another_thing():
    lines = found(cluster())
    assert [line.level for line in lines] == ["ok"] * len(lines)
    assert not any(line.remedy for line in lines)
    assert {line.about for line in lines} >= {
        *("nodes", "versions", "disk", "shared memory", "gpus", "clock"),
        *("resources", "storage", "mlflow"),
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_its_remedy_named(fault):
    plant, expected = FAULTS[fault]
    reported = cluster()
    plant(reported)
    (line,) = worst(reported)
    assert line.startswith(expected)


def test_the_head_comes_first_whoever_is_listed_first():
    reported = cluster()
    reported["nodes"][1]["facts"]["versions"]["ray"] = "2.61.0"  # the head's: both workers differ
    errors = [line for line in worst(reported) if line.startswith("error")]
    assert [line.partition(" has ")[2] for line in errors] == [
        "ray 2.60.0, the head 10.0.0.2 2.61.0. Install ray 2.61.0 there"
    ] * 2


def test_a_client_of_another_version_is_warned():
    reported = cluster()
    for each in reported["nodes"]:
        each["facts"]["versions"]["ray"] = "2.59.0"
    assert worst(reported) == [
        "warning  versions: this machine has ray 2.60.0, the head 10.0.0.2 2.59.0. "
        "Install ray 2.59.0 here"
    ]


def test_a_trial_that_fits_nowhere_is_an_error_unless_nodes_may_come():
    reported, large = cluster(), sweep("resources.cpus=16")
    words = "resources.cpus: a trial asks for 16 CPUs; the cluster has "
    (line,) = worst(reported, large)
    assert line.startswith(f"error    resources: {words}")
    reported["growth"] = {"kinds": [], "unknown": True}
    (line,) = worst(reported, large)
    assert line.startswith(f"warning  resources: {words}")
    kind = {"name": "large", "most": 3, "resources": {"CPU": 16.0}, "labels": {}}
    reported["growth"] = {"kinds": [kind], "unknown": False}
    assert worst(reported, large) == []


def test_what_fits_on_the_nodes_that_are_there_is_counted_though_more_may_come():
    two, asked = [Node("head", {"CPU": 2}), Node("worker", {"CPU": 2})], ResourcesSpec(cpus=1)
    (here,) = check_resources(two, asked)
    assert here.words == "4 trials at a time"
    (growing,) = check_resources(two, asked, grows=True)
    assert growing.words == "4 trials at a time, more on new nodes"


def test_a_relative_storage_on_several_nodes_is_warned():
    (line,) = worst(cluster(), sweep("storage=runs"))
    assert line.startswith('warning  storage: "runs" is relative, 3 nodes share it. Set storage:')


def test_a_node_that_came_back_is_not_lost():
    reported = cluster()
    gone = node("worker", 3) | {"alive": False, "lost": True, "facts": None}
    reported["nodes"].append(gone)
    assert worst(reported) == []


def test_a_clock_that_cannot_be_measured_well_is_not_blamed():
    reported = cluster()
    worker(reported)["clock"] = [3.0, 2.0]  # between 1 and 5 s
    assert worst(reported) == []


def test_mlflow_is_not_judged_where_raysel_is_missing():
    reported = cluster()
    reported["tracker"] = None
    (line,) = worst(reported)
    assert line.startswith(f"warning  mlflow: {URI} could not be tried on the head")
