"""Ask nodes: facts about a machine, a task on every node, whether all nodes share a storage.

`raysel doctor` sends this file alone: over ssh on standard input, as the script of a Ray job, or
pickled by value with a Ray task. It imports the standard library only (Ray, PyYAML and pyarrow
where they are needed), because missing packages are among the facts.

As a script: `python node_probe.py QUESTION`, the question as JSON; the result is one line of JSON
behind `MARK`, so that it is found among whatever else a login shell or a job prints.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

MARK = "RAYSEL-DOCTOR "
_CUDA = "import json, torch; print(json.dumps([torch.cuda.device_count(), torch.version.cuda]))"
_CUDA_SECONDS = 90
_ROUNDS = 3
_KUBERAY_AUTOSCALER = "RAY_enable_autoscaler_v2"
_BOOTSTRAP = "~/ray_bootstrap_config.yaml"
"""The file that `ray up` leaves on the head."""

_LOST = (0, 2)
"""Ray's reasons for an unplanned end of a node: unspecified, unexpected."""


# --- one machine -----------------------------------------------------------------------------


def facts(packages: list[str], places: list[str], gpus: float = 0) -> dict:
    """Versions, disks, shared memory, token file, GPUs and clock of this machine.

    Args:
        packages: whose versions are reported.
        places: folders whose disks are looked at; the nearest one that exists stands for it.
        gpus: how many GPUs are expected; torch is asked where there are any, or a driver.
    """
    python = {"python": ".".join(map(str, sys.version_info[:3]))}
    return {
        "host": socket.gethostname(),
        "versions": {**python, **versions(packages)},
        "disks": {place: _disk(place) for place in places},
        "shared_memory": _disk("/dev/shm") if Path("/dev/shm").is_dir() else None,
        "token": _token(),
        "cuda": _cuda() if gpus or Path("/dev/nvidia0").exists() else None,
        "clock": time.time(),
    }


def versions(packages: list[str]) -> dict:
    """Of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _disk(place: str) -> dict:
    path = Path(place).expanduser().absolute()
    total, used, free = shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists()))
    return {"total": total, "used": used, "free": free}


def _token() -> dict:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        permissions = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        permissions = None
    given = bool(os.environ.get("RAY_AUTH_TOKEN"))
    mode = os.environ.get("RAY_AUTH_MODE", "")
    return {"mode": mode, "path": str(path), "permissions": permissions, "in_environment": given}


def _cuda() -> dict:
    """How many GPUs torch sees; Ray hides them from a task that asks for none."""
    hidden = ("CUDA_VISIBLE_DEVICES",)
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _CUDA],
            capture_output=True,
            text=True,
            timeout=_CUDA_SECONDS,
            check=True,
            env=environment,
        )
        devices, build = json.loads(ran.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return {"devices": 0, "build": None, "error": type(error).__name__}
    return {"devices": devices, "build": build, "error": None}


def now() -> float:
    """This machine's clock, seconds since 1970."""
    return time.time()


# --- a storage that several machines share ------------------------------------------------------


def write_mark(storage: str, name: str) -> str:
    """Write a file of that name into the storage; return the error, or an empty text."""
    try:
        if "://" in storage:
            system, path = _system(storage)
            with system.open_output_stream(f"{path}/{name}") as stream:
                stream.write(name.encode())
        else:
            folder = Path(storage)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
    except Exception as error:
        return _reason(error)
    return ""


def read_marks(storage: str, names: list[str]) -> dict:
    """Read the files of the other nodes: for each name the error, or an empty text."""
    return {name: _read(storage, name) for name in names}


def _read(storage: str, name: str) -> str:
    try:
        if "://" in storage:
            system, path = _system(storage)
            with system.open_input_stream(f"{path}/{name}") as stream:
                content = stream.read().decode()
        else:
            content = (Path(storage) / name).read_text()
    except Exception as error:
        return _reason(error)
    return "" if content == name else "has another content than was written"


def remove_mark(storage: str, name: str) -> None:
    """Take the file away again, and the storage's folder if nothing else is in it."""
    try:
        if "://" in storage:
            system, path = _system(storage)
            system.delete_file(f"{path}/{name}")
        else:
            (Path(storage) / name).unlink()
            Path(storage).rmdir()
    except Exception:
        return  # it was not there, or others are


def _system(storage: str) -> tuple:
    from pyarrow.fs import FileSystem  # noqa: PLC0415

    return FileSystem.from_uri(storage)


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words.splitlines()[0][:200]


# --- all nodes of a cluster -----------------------------------------------------------------


def cluster(question: dict) -> dict:
    """Ask every node of the cluster that Ray is connected to.

    Args:
        question: `packages`; `storage` or None; `record` (its URL, the sweep's name) or None;
            `tracker` (MLflow's URI, experiment) or None; `seconds` that a round of questions may
            take.

    Returns:
        `nodes`, as `listed_nodes` gives them, each with `facts` and `clock` (seconds ahead, and by
        how much it may be off), which are null where it did not answer, and `written` and `read`
        of `probe_storage`. `storage`, absolute. `growth`, as `may_grow` gives it. `record` and
        `tracker` as seen from here.
    """
    nodes = listed_nodes()
    alive = [node for node in nodes if node["alive"]]
    seconds = question["seconds"]
    storage = question.get("storage")
    if storage and "://" not in storage:
        storage = str(Path(storage).expanduser().absolute())
    places = ["/tmp", *([storage] if storage and "://" not in storage else [])]

    def asked(node: dict) -> tuple:
        return question["packages"], places, node["resources"].get("GPU", 0)

    replies = run_on_every_node(alive, seconds, facts, asked)
    for node in nodes:
        node["facts"] = replies.get(node["id"])
        node["clock"] = _ahead(node) if node["facts"] is not None else None
        node["written"] = node["read"] = None
    if storage:
        probe_storage([node for node in nodes if node["facts"] is not None], storage, seconds)
    return {
        "nodes": nodes,
        "storage": storage,
        "growth": may_grow(),
        "record": run_module("raysel.record.postgres_preflight", question.get("record"), seconds),
        "tracker": run_module("raysel.mlflow_sync.preflight", question.get("tracker"), seconds),
    }


def may_grow() -> dict:
    """What an autoscaler may add, as the head knows it.

    Returns:
        `kinds`: the kinds of workers in the cluster file that `ray up` left on the head, each with
        `name`, `resources`, `labels` and `most`, how many there may be; `unknown`: whether nodes
        of unknown size may join (KubeRay's autoscaler reports no sizes).
    """
    try:
        kinds = _kinds()
    except Exception:  # there is no such file, or it is damaged
        kinds = []
    return {"kinds": kinds, "unknown": os.environ.get(_KUBERAY_AUTOSCALER, "") in ("1", "true")}


def _kinds() -> list[dict]:
    import yaml  # noqa: PLC0415

    file = yaml.safe_load(Path(_BOOTSTRAP).expanduser().read_text(encoding="utf-8"))
    most = int(file.get("max_workers", 0))
    return [
        {
            "name": str(name),
            "resources": {str(k): float(v) for k, v in (kind.get("resources") or {}).items()},
            "labels": {str(k): str(v) for k, v in (kind.get("labels") or {}).items()},
            "most": min(int(kind.get("max_workers", most)), most),
        }
        for name, kind in file["available_node_types"].items()
        if name != file.get("head_node_type")
    ]


def listed_nodes() -> list[dict]:
    """The nodes of the cluster, the lost ones too: `id`, `name`, `address`, `head`, `alive`,
    `lost`, `resources` and `labels`."""
    import ray  # noqa: PLC0415

    nodes = [_node(node) for node in ray.nodes()]
    _fill_names(nodes)
    return nodes


def _node(node: dict) -> dict:
    return {
        "id": node["NodeID"],
        "address": node["NodeManagerAddress"],
        "head": "node:__internal_head__" in node["Resources"],
        "alive": node["Alive"],
        "lost": not node["Alive"] and node.get("DeathReason", 0) in _LOST,
        "resources": dict(node["Resources"]),
        "labels": dict(node.get("Labels") or {}),
    }


def _fill_names(nodes: list[dict]) -> None:
    """`head 10.0.0.2`, `worker 10.0.0.7`; with the node's id where two share an address."""
    addresses = [node["address"] for node in nodes if node["alive"]]
    for node in nodes:
        kind = "head" if node["head"] else "worker"
        twice = addresses.count(node["address"]) > 1
        node["name"] = f"{kind} {node['address']}" + (f" ({node['id'][:6]})" if twice else "")


def run_on_every_node(
    nodes: list[dict], seconds: float, function: Callable, arguments: Callable
) -> dict:
    """Run a task on each node, without waiting for a free CPU.

    Args:
        arguments: from a node to the arguments of `function`.

    Returns:
        The results by the nodes' ids; a node that is silent or lost is left out.
    """
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    if not nodes:
        return {}
    asked = {}
    for node in nodes:
        where = NodeAffinitySchedulingStrategy(node["id"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(function)
        asked[task.remote(*arguments(node))] = node["id"]
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
    for task in late:
        ray.cancel(task, force=True)
    replies = {}
    for task in ready:
        try:
            replies[asked[task]] = ray.get(task)
        except Exception:
            continue  # the node went away, or cannot run it
    return replies


def _ahead(node: dict) -> list | None:
    """Seconds that the node's clock is ahead of ours, and by how much that may be wrong: the
    quickest of a few questions."""
    best = None
    for _ in range(_ROUNDS):
        before = time.time()
        reply = run_on_every_node([node], 10, now, lambda _: ()).get(node["id"])
        half = (time.time() - before) / 2
        if reply is not None and (best is None or half < best[1]):
            best = [reply - (before + half), half]
    return best


def probe_storage(nodes: list[dict], storage: str, seconds: float) -> None:
    """Every node writes a file and reads those of all others.

    Adds to each node `written`, the error or an empty text, None where it did not answer; and
    `read`, the same of each file by the name of the node that wrote it.
    """
    token = f".raysel-probe-{os.getpid()}-{time.time_ns()}"
    own = {node["id"]: f"{token}-{node['id'][:8]}" for node in nodes}

    def mark(node: dict) -> tuple:
        return storage, own[node["id"]]

    written = run_on_every_node(nodes, seconds, write_mark, mark)
    there = [own[identity] for identity, error in written.items() if not error]
    read = run_on_every_node(nodes, seconds, read_marks, lambda _: (storage, there))
    run_on_every_node(nodes, seconds, remove_mark, mark)
    names = {own[node["id"]]: node["name"] for node in nodes}
    for node in nodes:
        node["written"] = written.get(node["id"])
        marks = read.get(node["id"])
        node["read"] = marks and {names[mark]: error for mark, error in marks.items()}


def run_module(
    module: str,
    arguments: list[str] | None,
    seconds: float,
    environment: dict | None = None,
) -> dict | None:
    """The JSON output of a raysel module, run in a process of its own; None if it was
    not asked, or is not there."""
    if arguments is None:
        return None
    try:
        ran = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True,
            text=True,
            timeout=seconds + 30,
            env=environment,
        )
        lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
        return json.loads(lines[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"{arguments[0]} does not answer in time"}
    except (OSError, ValueError, IndexError):
        return None  # raysel is not installed there: the check of versions reports it


def main(argument: str) -> None:
    """Print the facts of the whole cluster if the question says so, else of this machine."""
    question = json.loads(argument)
    if question.pop("cluster", False):
        import ray  # noqa: PLC0415

        ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
        reply = cluster(question)
    else:
        reply = facts(**question)
    print(MARK + json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
