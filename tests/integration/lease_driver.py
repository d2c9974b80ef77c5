"""`raysel` in a process whose lease is short, and which does a deed at a chosen moment.

    python -m tests.integration.lease_driver LEASE_SECONDS DEED MOMENT COUNT ARGUMENTS...

Moment and count are those of `chaos_driver`; the deed is `freeze` (SIGSTOP, as a machine that
sleeps), `die`, or `fill` (the disk below $DISK, to its last byte).
"""

from __future__ import annotations

import os
import signal
import sys
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


DEEDS = {"freeze": freeze, "die": chaos_driver.die, "fill": fill}

if __name__ == "__main__":
    lease, deed, moment, count, *arguments = sys.argv[1:]
    from raysel.tracking import owner

    owner.LEASE_SECONDS = float(lease)
    chaos_driver.die = DEEDS[deed]
    chaos_driver.arm(moment, int(count))
    from raysel.cli import main

    sys.exit(main(arguments))
