"""The Ray that the sweep runs on: a cluster that is there, or one on this machine alone."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Read by Ray when it is imported or started. Trials log to the record, not to Ray; Tune's own
# handling of Ctrl-C and its buffering of results would come between.
if not os.environ.get("RAY_ADDRESS"):  # lets a one-node Ray listen on loopback only
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
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


@dataclass(frozen=True)
class Capacity:
    """What the cluster has."""

    cpus: int
    gpus: float

    def concurrent(self, cpus: int, gpus: float, wanted: int | None) -> int:
        """How many trials of this size run at a time; `wanted` is the upper bound."""
        fits = self.cpus // cpus
        if gpus:
            fits = min(fits, int(self.gpus / gpus + 1e-9))
        return max(1, min(fits, wanted or fits))


def foreseen() -> Capacity:
    """What `connected` will give, without starting a cluster of one's own."""
    if not ray.is_initialized():
        if not os.environ.get("RAY_ADDRESS"):
            return Capacity(os.cpu_count() or 1, float(torch.cuda.device_count()))
        _start()
    return _capacity()


def _capacity() -> Capacity:
    have = ray.cluster_resources()
    return Capacity(int(have.get("CPU", 1)), float(have.get("GPU", 0)))


@contextmanager
def connected() -> Iterator[Capacity]:
    """Join the cluster that the environment names, or start one on this machine.

    A cluster of one's own listens on loopback only, and ends with the block; one that this
    process had joined before is left as it was.
    """
    mine = not ray.is_initialized()
    if mine:
        _start()
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # that Tune cannot write its own state, which nobody reads, is no trouble
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    try:
        yield _capacity()
    finally:
        if mine:
            ray.shutdown()


def _start() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        return
    ray.init(
        address="local",  # not a cluster that happens to run on this machine
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
