"""Connect to Ray: to a running cluster, or to a new local one, whose sockets and logs lie in a
folder that fits."""

from __future__ import annotations

import raysel.engine.ray_env as ray_env

import logging
import os
import re
import secrets
import signal
import socket
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray._private import worker as ray_worker

from raysel.common import credentials
from raysel.common.errors import OperationalError, user_error
from raysel.common.text import first_line
from raysel.common.user_files import why_not_made
from raysel.engine.capacity import Node
from raysel.engine.node_probe import listed_nodes, may_grow
from raysel.engine.ray_processes import end_family, end_orphans, marked
from raysel.engine.signals import Handlers

_KIND = "ray.io/node-group"
"""The label in which Ray stores a node's kind."""

CONNECT_SECONDS = 10.0
"""Timeout for the head to answer, in seconds."""

_RESTORE_SECONDS = 0.05
"""Longest time that Ray's own signal handlers stay installed while it starts."""

_START_TRIES = 2
"""Ray gives its processes 30 seconds to start, which is short on a busy machine."""

_WAY_IN = "does Ray run there, of this version, with this machine's token?"

_SOCKET = "ray/session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
"""The longest path that Ray makes for a socket there."""

MOST_BYTES = 107 if sys.platform.startswith("linux") else 103
"""Of a socket's path: the operating system's limit."""


def expected_nodes() -> list[Node]:
    """The nodes that `connected` will give, without starting a local cluster."""
    if not ray.is_initialized():
        if not os.environ.get("RAY_ADDRESS"):
            check_ray_folder(os.environ)
            mine = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
            return [Node("this machine", mine)]
        with ThreadPoolExecutor(1, "ray") as aside:
            _start_in(aside)
    return _nodes()


def _nodes() -> list[Node]:
    """The running nodes, then the node types that the autoscaler may start."""
    kinds = may_grow()["kinds"] if os.environ.get("RAY_ADDRESS") else []
    return with_possible_nodes(listed_nodes(), kinds)


def with_possible_nodes(
    listed: Sequence[Mapping[str, Any]], kinds: Sequence[Mapping[str, Any]]
) -> list[Node]:
    """The nodes that are up, then the node types that may still start.

    Args:
        listed: as `listed_nodes` gives them; those of a kind carry its name as a label.
        kinds: as `may_grow` gives them.
    """
    there = [
        Node("head" if node["head"] else "worker", node["resources"], node["labels"])
        for node in listed
        if node["alive"]
    ]
    up = Counter(node.labels.get(_KIND) for node in there)
    return there + [
        Node(kind["name"], kind["resources"], kind["labels"], left)
        for kind in kinds
        if (left := kind["most"] - up[kind["name"]]) > 0
    ]


def grows() -> bool:
    """Whether nodes of unknown size may join the cluster."""
    return bool(may_grow()["unknown"])


@contextmanager
def connected() -> Iterator[list[Node]]:
    """Join the cluster that the environment names, or start one on this machine.

    A local cluster listens on loopback only and asks for a token that only this process
    and its children have; it ends with the block. A cluster that this process had joined
    before is left as it was.
    """
    mine = not ray.is_initialized()
    handlers = Handlers()
    # its processes end with the thread that started them
    with ThreadPoolExecutor(1, "ray") as aside:
        try:
            if mine:
                _start_in(aside)
            yield _nodes()
        finally:
            if mine:
                ray.shutdown()
                _print_published_errors(True)
                handlers.restore()


def _start_in(aside: ThreadPoolExecutor) -> None:
    """Start or join Ray in another thread, with this thread's signal handlers still in force.

    In the main thread Ray would handle SIGTERM itself and exit in the middle of an output line.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)  # it warns that SIGTERM is not its own
    # with a traceback for every lost worker, which the progress reporter shows in one line,
    # and for its own state, which nobody reads, where the disk is full
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    _print_published_errors(False)
    handlers = Handlers()
    starting = aside.submit(_start)
    try:
        while not wait([starting], timeout=_RESTORE_SECONDS).done:
            handlers.restore()
    finally:  # a handler may raise: what was begun is then there to be shut down
        wait([starting])
        handlers.restore()
    starting.result()


def _print_published_errors(enabled: bool) -> None:
    """Whether this process prints what Ray's processes publish as errors, such as the last lines of
    a raylet's log when it has ended. `log_to_driver=False` does not keep them off the terminal;
    Ray's debugger uses this switch."""
    ray_worker._worker_logs_enabled = enabled


def _start() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    # Ray's processes inherit what this thread blocks: they outlive a terminal that is closed, as
    # they outlive a Ctrl-C, until the sweep has ended
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    if address := os.environ.get("RAY_ADDRESS"):
        return _join(address)
    if ray_env.TOO_LATE:
        raise OperationalError(
            "ray",
            "was imported before raysel's engine, and would listen on all addresses; start Python"
            " anew and import raysel.engine.ray_env before ray, or call ray.init() yourself first",
        )
    check_ray_folder(os.environ)
    # not Ray's ~/.ray/auth_token, which would be made there and be the same for all
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    end_orphans()  # of a driver that was killed a moment ago
    for tries_left in reversed(range(_START_TRIES)):
        try:
            return _start_local()
        except Exception as error:  # Ray raises just that where its processes are slow to start
            end_family()
            if not tries_left:
                words = f"did not start, tried {_START_TRIES} times ({first_line(error)})"
                raise OperationalError("ray", f"{words}; try again") from error
    return None


def _start_local() -> None:
    with marked():
        ray.init(
            address="local",  # not a cluster that happens to run on this machine
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )


def _join(address: str) -> None:
    """Join the cluster that is there.

    Raises:
        OperationalError: it is not, or does not let this process in; in one line.
    """
    check_reachable(address)
    try:
        ray.init(
            log_to_driver=False, logging_level=logging.ERROR, runtime_env=_sealed_for_workers()
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise OperationalError(
            address, f"cannot be joined ({first_line(error)}); {_WAY_IN}"
        ) from error


def check_reachable(address: str) -> None:
    """Check that something listens at RAY_ADDRESS: Ray itself would retry silently for minutes.

    Raises:
        OperationalError: nothing listens there.
    """
    named = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+)\]?:(\d{1,5})", address)
    if named is None:
        return  # `auto`, or for Ray to refuse
    try:
        socket.create_connection((named[1], int(named[2])), CONNECT_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise OperationalError(
            address, f"RAY_ADDRESS does not answer ({error}); {_WAY_IN}"
        ) from None


def _sealed_for_workers() -> dict[str, Any] | None:
    """The driver's credentials for the workers, which may run on nodes that have none; a job of
    `raysel submit` has them with it."""
    values = credentials.found(os.environ)
    requires_token = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    if credentials.VARIABLE in os.environ or not (values and requires_token):
        return None
    token = credentials.cluster_token(os.environ)
    return credentials.runtime_env(values, token) if token else None


def check_ray_folder(environment: Mapping[str, str]) -> None:
    """Refuse a folder for temporary files in which Ray could not start.

    Raises:
        UserError: it is too long for sockets, relative, or cannot be made or written; with what to
            set.
    """
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in environment else "TMPDIR"
    folder = environment.get(name, "/tmp")
    if wrong := _problem(folder):
        raise user_error(name, f'"{folder}" {wrong}; set RAY_TMPDIR=/tmp, or another short folder')


def _problem(folder: str) -> str | None:
    if not folder.startswith("/"):
        return "is not an absolute path, which Ray needs for its sockets"
    longest = len(os.fsencode(f"{folder.rstrip('/')}/{_SOCKET.format(pid=os.getpid())}"))
    if longest > MOST_BYTES:
        return f"is {longest - MOST_BYTES} bytes too long for Ray's sockets"
    why = why_not_made(Path(folder) / "ray")
    return why and f"cannot hold Ray's files: {why}"
