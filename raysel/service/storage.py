"""Where the runs of a job lie."""

from __future__ import annotations

import shlex

from raysel.places import is_bucket


def lasting(storage: str) -> bool:
    """Whether a storage is the same place wherever a process was started.

    A relative one is not: the working folder of a job is removed. It lies below the home folder
    of the cluster's user then.
    """
    return storage.startswith("/") or is_bucket(storage)


def for_a_shell(storage: str, name: str = "") -> str:
    """A storage, or a sweep's folder in it, as a shell on the head takes it."""
    path = shlex.quote(f"{storage}/{name}" if name else storage)
    return path if lasting(storage) else f'"$HOME/raysel"/{path}'
