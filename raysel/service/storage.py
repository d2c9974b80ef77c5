"""The storage of a job's sweep."""

from __future__ import annotations

import shlex

from raysel.common.locations import is_bucket
from raysel.record.layout import SweepFolder
from raysel.service.jobs import Job
from raysel.sweep.manifest import kept


def lasting(storage: str) -> bool:
    """Whether a storage is the same place wherever a process was started.

    A relative one is not: the working folder of a job is removed. It lies below the home folder
    of the cluster's user then.
    """
    return storage.startswith("/") or is_bucket(storage)


def for_a_shell(storage: str, name: str = "") -> str:
    """A storage, or a sweep's folder in it, quoted for a shell on the head."""
    path = shlex.quote(f"{storage}/{name}" if name else storage)
    return path if lasting(storage) else f'"$HOME/raysel"/{path}'


def seen_here(job: Job, storage: str) -> SweepFolder | None:
    """The job's sweep in a folder that this machine sees too; None where it does not, and for
    another sweep of that name that lies at the same path here."""
    if not storage.startswith("/"):
        return None
    folder = SweepFolder.of(storage, job.name)
    file = folder.suite if folder.suite.is_file() else folder.manifest
    there = folder.spec.is_file() or folder.suite.is_file()
    return folder if there and kept(file).get("sent_as") == job.sweep else None
