"""Validate where a sweep's files and records go: its name, its folders, MLflow's address and the
database's."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from raysel.common.errors import Problem, UserError
from raysel.common.locations import (
    check_bucket,
    is_bucket,
    missing_driver,
    missing_store,
    network_file_system,
    sqlite_file,
    sweep_url,
    working_folder,
)
from raysel.common.paths import taken_name
from raysel.common.user_files import (
    lies_below,
    nearest_above,
    no_sqlite_database,
    why_not_made,
    why_not_writable,
)
from raysel.spec.data_choice import FolderData
from raysel.spec.sweep import Spec

MOST_BYTES_OF_A_SWEEP = 470
"""Of the path of a sweep's folder: with the names of its databases and of what SQLite keeps beside
them it stays within SQLite's limit of 512."""


def place_problems(spec: Spec) -> Iterator[Problem]:
    """A name that is taken, folders that cannot be made or written or that hold the pictures,
    addresses that name nothing raysel can use."""
    return itertools.chain(
        _name_problems(spec),
        _storage_problems(spec),
        _cache_problems(spec),
        _database_problems(spec),
    )


def _name_problems(spec: Spec) -> Iterator[Problem]:
    if why := taken_name(spec.name):
        yield Problem("name", why)


def _storage_problems(spec: Spec) -> Iterator[Problem]:
    """Whether the folder, or the one in which it would be made, can be written."""
    bucket = is_bucket(spec.storage)
    if bucket and (problem := check_bucket(spec.storage)):
        yield problem
        return
    if bucket and (missing := missing_store(spec.storage)):
        yield Problem("storage", missing)
    folder = working_folder(spec.storage)
    if among := _among_pictures(spec, spec.storage, folder):
        yield Problem("storage", among)
        return
    there = nearest_above(folder)
    length = len(os.fsencode(folder / spec.name))
    if length > MOST_BYTES_OF_A_SWEEP:
        message = f"the sweep's folder in it has a path of {length:,} bytes;"
        yield Problem("storage", f"{message} {MOST_BYTES_OF_A_SWEEP} at most, which SQLite takes")
    elif not there.is_dir():
        yield Problem("storage", f'"{spec.storage}" cannot be made: {there} is not a folder')
    elif why := why_not_writable(there):
        yield Problem("storage", f'"{spec.storage}" cannot be written: {why} in {there}')
    elif spec.database_url is None and (kind := network_file_system(there)):
        yield Problem(
            "storage",
            f'"{spec.storage}" is on {kind}, where SQLite\'s log does not work; choose a local '
            "folder, or database_url: postgresql://user@host/database",
        )


def _among_pictures(spec: Spec, given: str, folder: Path) -> str | None:
    """Why a folder that raysel writes may not lie where it was given; None where it may."""
    data = spec.task.data
    if not isinstance(data, FolderData) or not lies_below(folder, Path(data.folder)):
        return None
    where = f"the folder of the pictures, {data.folder}"
    return f'"{given}" lies in {where}, whose folders are its classes; choose one beside it'


def _cache_problems(spec: Spec) -> Iterator[Problem]:
    if (cache := spec.task.cache) is None:
        return
    if why := why_not_made(Path(cache)):
        yield Problem("task.cache", f'"{cache}" cannot be made: {why}')
    elif among := _among_pictures(spec, cache, Path(cache)):
        yield Problem("task.cache", among)


def _databricks_problems(spec: Spec) -> Iterator[Problem]:
    """What MLflow needs to reach Databricks, whose experiments are paths of its workspace."""
    profiles = os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg"
    if "DATABRICKS_HOST" not in os.environ and not Path(profiles).expanduser().is_file():
        message = "is Databricks, and neither DATABRICKS_HOST nor ~/.databrickscfg says which"
        yield Problem("tracking.uri", f'"{spec.tracking.uri}" {message}; run: databricks configure')
    if not spec.experiment.startswith("/"):
        message = f'"{spec.experiment}" is no path, as Databricks wants'
        hint = f"such as /Users/YOU@HOST/{spec.experiment}"
        yield Problem("tracking.experiment", f"{message}; write one {hint}")


def _database_problems(spec: Spec) -> Iterator[Problem]:
    """What is wrong with the addresses of databases, and the packages that they need."""
    uri = spec.tracking.uri
    if uri is not None and uri.startswith("databricks"):
        yield from _databricks_problems(spec)
    elif uri is not None and "://" in uri and not uri.startswith("http"):
        missing = missing_driver(uri)
        yield from [Problem("tracking.uri", missing)] if missing else []
        file = sqlite_file(uri)
        if file is not None and not os.path.lexists(file):
            why = why_not_made(file.parent)
            yield from [Problem("tracking.uri", f'"{uri}" cannot be made: {why}')] if why else []
        elif file is not None and (file.is_symlink() or not file.is_file() or file.stat().st_size):
            why = no_sqlite_database(file)
            yield from [Problem("tracking.uri", f"{file} {why}")] if why else []
    if spec.database_url is not None:
        try:
            sweep_url(spec.database_url, Path(), spec.name)
        except UserError as error:
            yield from error.problems
