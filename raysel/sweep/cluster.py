"""The Ray that the sweep runs on: a cluster that is there, or one on this machine alone."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Read by Ray when it is imported or started. Trials log to the record, not to Ray; Tune's own
# handling of Ctrl-C and its buffering of results would come between.
if not os.environ.get("RAY_ADDRESS"):
    # lets a one-node Ray listen on loopback only
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # on a machine that others use too, loopback is not enough; from 2.60 Ray would do it itself
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
os.environ["TUNE_RESULT_BUFFER_LENGTH"] = "0"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the newer output prints a banner even when silent
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # Tune's state is never restored
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would put trials behind the writer

import ray
import torch
import yaml

from raysel import credentials
from raysel.capacity import Node
from raysel.errors import Trouble

_BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
_KIND = "ray.io/node-group"
"""The label by which Ray tells a node's kind."""

KNOCK_SECONDS = 10.0
"""How long a head that is to be joined may take to answer."""

_WAY_IN = "does Ray run there, of this version, with this machine's token?"

_KUBERAY_AUTOSCALER = "RAY_enable_autoscaler_v2"


def foreseen() -> list[Node]:
    """What `connected` will give, without starting a cluster of one's own."""
    if not ray.is_initialized():
        if not os.environ.get("RAY_ADDRESS"):
            mine = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
            return [Node("this machine", mine)]
        _start()
    return _nodes()


def _nodes() -> list[Node]:
    """The nodes that are there, then the kinds of which the autoscaler may start some."""
    there = [
        Node(
            "head" if "node:__internal_head__" in node["Resources"] else "worker",
            node["Resources"],
            node.get("Labels") or {},
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return there + (may_start(_BOOTSTRAP, there) if os.environ.get("RAY_ADDRESS") else [])


def may_start(file: Path, there: Sequence[Node]) -> list[Node]:
    """The kinds of nodes that are not all there yet, from the file that `ray up` left on the head.

    Args:
        there: the nodes that are up; those of a kind carry its name as a label.
    """
    try:
        config = yaml.safe_load(file.expanduser().read_text(encoding="utf-8"))
        kinds = dict(config["available_node_types"])
    except Exception:  # none, or damaged
        return []
    up = Counter(node.labels.get(_KIND) for node in there)
    most = int(config.get("max_workers", 0))
    return [
        Node(
            name,
            {key: float(value) for key, value in (kind.get("resources") or {}).items()},
            {str(key): str(value) for key, value in (kind.get("labels") or {}).items()},
            left,
        )
        for name, kind in kinds.items()
        if name != config.get("head_node_type")
        if (left := min(int(kind.get("max_workers", most)), most) - up[name]) > 0
    ]


def grows() -> bool:
    """Whether nodes may come of which nothing can be known: KubeRay's autoscaler tells no sizes."""
    return os.environ.get(_KUBERAY_AUTOSCALER, "") in ("1", "true")


@contextmanager
def connected() -> Iterator[list[Node]]:
    """Join the cluster that the environment names, or start one on this machine.

    A cluster of one's own listens on loopback only and asks for a token that this process
    alone and its children have; it ends with the block. One that this process had joined
    before is left as it was.
    """
    mine = not ray.is_initialized()
    # In the main thread Ray would answer SIGTERM itself, with an exit in the middle of a word;
    # and its processes end with the thread that started them.
    with ThreadPoolExecutor(1, "ray") as aside:
        logging.getLogger("ray").setLevel(logging.ERROR)  # it tells that SIGTERM is not its own
        # with a traceback for every worker that is lost, of which the watcher is told in a line,
        # and for its own state, which nobody reads, where the disk is full
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        if mine:
            aside.submit(_start).result()
        try:
            yield _nodes()
        finally:
            if mine:
                ray.shutdown()


def _start() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    if address := os.environ.get("RAY_ADDRESS"):
        return _join(address)
    # not Ray's ~/.ray/auth_token, which would be made there and be the same for all
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        ray.init(
            address="local",  # not a cluster that happens to run on this machine
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
    except Exception as error:  # Ray raises just that where its processes are slow to start
        raise Trouble("ray", f"did not start ({_first_line(error)}); try again") from error
    return None


def _join(address: str) -> None:
    """Join the cluster that is there.

    Raises:
        Trouble: it is not, or does not let this process in; in one line.
    """
    knock(address)
    try:
        ray.init(
            log_to_driver=False, logging_level=logging.ERROR, runtime_env=_sealed_for_workers()
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise Trouble(address, f"cannot be joined ({_first_line(error)}); {_WAY_IN}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def knock(address: str, seconds: float = KNOCK_SECONDS) -> None:
    """Whether anybody listens at RAY_ADDRESS: Ray itself would ask for minutes without a word.

    Raises:
        Trouble: nobody does.
    """
    named = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+)\]?:(\d{1,5})", address)
    if named is None:
        return  # `auto`, or for Ray to refuse
    try:
        socket.create_connection((named[1], int(named[2])), seconds).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise Trouble(address, f"RAY_ADDRESS does not answer ({error}); {_WAY_IN}") from None


def _sealed_for_workers() -> dict[str, Any] | None:
    """The driver's credentials for the workers, which may run on nodes that have none; a job of
    `raysel submit` has them with it."""
    values = credentials.found(os.environ)
    guarded = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    if credentials.VARIABLE in os.environ or not (values and guarded):
        return None
    token = credentials.cluster_token(os.environ)
    return credentials.runtime_env(values, token) if token else None
