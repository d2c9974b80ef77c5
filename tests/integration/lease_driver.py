"""`raysel` in a process whose lease is short, and which does an action at a chosen moment.

    python -m tests.integration.lease_driver LEASE_SECONDS ACTION MOMENT COUNT ARGUMENTS...

Moment and count are those of `chaos_driver`; the action is `freeze` (SIGSTOP, as a machine that
sleeps), `die`, `fill` (the disk below $DISK, to its last byte), or one of `GONE` with the files of
the sweep in $SWEEP.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from . import chaos_driver


def freeze() -> None:
    """All threads stop until SIGCONT comes."""
    os.kill(os.getpid(), signal.SIGSTOP)


def fill() -> None:
    """Somebody else writes until nothing is left."""
    with suppress(OSError), Path(os.environ["DISK"], "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def _sweep(name: str = "") -> Path:
    return Path(os.environ["SWEEP"], name)


def _remove_log() -> None:
    for log in ("wal", "shm"):
        _sweep(f"sweep.db-{log}").unlink()


def _make_read_only() -> None:
    """For whoever opens a file from now on: with files open the kernel refuses more."""
    storage = str(_sweep().parent)
    subprocess.run(["mount", "--bind", storage, storage], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", storage], check=True)


GONE: dict[str, Callable[[], object]] = {
    "remove record": lambda: _sweep("sweep.db").unlink(),
    "remove log": _remove_log,
    "remove folder": lambda: shutil.rmtree(_sweep()),
    "rename folder": lambda: _sweep().rename(_sweep().with_name("elsewhere")),
    "move trials": lambda: _sweep("trials").rename(_sweep("trials.old")),
    "make read-only": _make_read_only,
}
ACTIONS = {"freeze": freeze, "die": chaos_driver.die, "fill": fill, **GONE}

if __name__ == "__main__":
    lease, action, moment, count, *arguments = sys.argv[1:]
    from raysel.record import ownership

    ownership.LEASE_SECONDS = float(lease)
    chaos_driver.die = ACTIONS[action]
    chaos_driver.arm(moment, int(count))
    from raysel.cli.main import main

    sys.exit(main(arguments))
