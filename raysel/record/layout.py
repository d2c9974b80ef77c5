"""Paths of a sweep's files: `<storage>/<sweep>/`, or `<storage>/<suite>/<cell>/`.

Where the storage is a bucket, the sweep is worked on in a folder of this machine, and the bucket
has the copy that lasts (`replica`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysel.common.disk_errors import is_absent
from raysel.common.errors import OperationalError
from raysel.common.locations import (
    BACKUP_FILE,
    SPEC_FILE,
    SUITE_FILE,
    continue_command,
    is_bucket,
    mlflow_uri,
    name_of,
    storage_of,
    sweep_command,
    way_back,
    working_folder,
)
from raysel.common.object_store import Bucket
from raysel.common.user_files import irregular, lies_there, set_aside
from raysel.record.events import finite
from raysel.spec.sweep import Spec

CACHE = ".cache"
"""In a storage folder: what its sweeps share, most of which can be made again."""

CODE = "code"
"""The folder of the user's own Python files, below the sweep's."""


@dataclass(frozen=True)
class SweepFolder:
    """The paths in a sweep's folder.

    Attributes:
        bucket: the sweep's place in an object store, if its storage is one.
    """

    path: Path
    bucket: Bucket | None = None

    @classmethod
    def of(cls, storage: str, name: str) -> SweepFolder:
        """The folder of the sweep `name` below `storage`."""
        bucket = Bucket(storage).below(name) if is_bucket(storage) else None
        return cls(working_folder(storage) / name, bucket)

    def resume(self, *options: str) -> str:
        """The command that goes on with the sweep."""
        return self.command("resume", *options)

    def command(self, verb: str, *options: str) -> str:
        """The command that does something else with it."""
        return sweep_command(verb, self.name, self.storage, *options)

    @property
    def name(self) -> str:
        """The sweep's by its folder, `suite/cell` of a cell."""
        return name_of(self.path)

    @property
    def root(self) -> Path:
        """The folder on this machine in which the storage's sweeps lie."""
        return storage_of(self.path)

    @property
    def is_cell(self) -> bool:
        """Whether it lies in the folder of a suite."""
        return self.root != self.path.parent

    @property
    def suite(self) -> Path:
        """The file that makes the folder a suite's."""
        return self.path / SUITE_FILE

    @property
    def continue_command(self) -> str:
        """What to type once the storage works again."""
        return continue_command(self.path, self.storage)

    @property
    def way_back(self) -> str:
        """How to go on after the SQLite record was lost."""
        return way_back(self.path, self.storage)

    @property
    def storage(self) -> str:
        """The folder or bucket in which it lies, as `--storage` takes it."""
        if self.bucket is None:
            return str(self.root)
        return (self.bucket.above.above if self.is_cell else self.bucket.above).uri

    def storage_of_its_file(self, given: str) -> str:
        """The `storage` of the sweep file, found in `given`: a cell may be looked for in its
        suite's folder, and has the storage of the suite."""
        return self.storage if self.is_cell else given

    @property
    def spec(self) -> Path:
        """The resolved sweep file."""
        return self.path / SPEC_FILE

    @property
    def code(self) -> Path:
        """Copies of the user's own Python files."""
        return self.path / CODE

    @property
    def manifest(self) -> Path:
        """Versions, command, git commit."""
        return self.path / "manifest.json"

    @property
    def record(self) -> Path:
        """The database of events."""
        return self.path / "sweep.db"

    @property
    def study(self) -> Path:
        """Optuna's study as a database, exported from the record for dashboards."""
        return self.path / "optuna.db"

    @property
    def lost_record(self) -> str | None:
        """Why a sweep that has begun here has no record, in words; None where it has one.

        An empty file is none: its tables are there before the sweep's own file is written, and
        opened as a record it would be a new one.
        """
        try:
            kind = irregular(self.record)
            size = self.record.stat().st_size
        except OSError as error:
            if not is_absent(error):
                return None  # its reader reports why
            link = self.record.readlink() if self.record.is_symlink() else None
            return f"is a link to {link}, which is not there" if link else "is not there"
        if kind:
            return f"is {kind} and no record"
        return None if size else "is empty"

    @property
    def backup(self) -> Path:
        """The last copy of the record."""
        return self.path / BACKUP_FILE

    @property
    def lock(self) -> Path:
        """Held by the driver that owns the sweep."""
        return self.path / "owner.lock"

    @property
    def split(self) -> Path:
        """Which example of the data set is in which part."""
        return self.path / "split.json"

    @property
    def tune(self) -> Path:
        """Ray's own files."""
        return self.path / "tune"

    @property
    def results(self) -> Path:
        """The machine-readable outcome."""
        return self.path / "results.json"

    @property
    def best(self) -> Path:
        """The winning model."""
        return self.path / "best"

    @property
    def writer_log(self) -> Path:
        """Log of the MLflow exporter."""
        return self.path / "mlflow-writer.log"

    @property
    def mlflow_files(self) -> Path:
        """MLflow's files of all sweeps of the storage."""
        return self.root / "mlartifacts"

    @property
    def source_cache(self) -> Path:
        """Source models: shared by the sweeps of one folder; in a bucket the sweep's own, or the
        suite's."""
        if self.bucket is None:
            return self.root / CACHE / "source"
        return (self.path.parent if self.is_cell else self.path) / "source"

    @property
    def trials(self) -> Path:
        """The folders of the trials."""
        return self.path / "trials"

    def trial(self, trial: str) -> Path:
        """A trial's checkpoint and trace."""
        return self.trials / trial


def tracking_uri(spec: Spec) -> str:
    """The MLflow store: the one that the file names, or SQLite beside the runs."""
    default = mlflow_uri(working_folder(spec.storage) / "mlflow.db")
    return spec.tracking.uri or default


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically; text as UTF-8. A folder in its place is set aside.

    Raises:
        OSError: it cannot be written; the file is named, where the system names none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        if path.is_dir() and not path.is_symlink():
            set_aside(path)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)  # a full disk has no room for it
        raise OSError(error.errno, error.strerror, str(path)) from error


def make_folder(path: Path) -> None:
    """Make a folder of the sweep's below one that is there. A file in its place is set aside.

    Raises:
        OperationalError: a link to nowhere is in its place: its disk may come back.
    """
    if path.is_symlink() and not lies_there(path):
        words = f"is a link to {path.readlink()}, which is not there; bring that back, or remove it"
        raise OperationalError(str(path), words)
    if lies_there(path) and not path.is_dir():
        set_aside(path)
    path.mkdir(exist_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; numbers that are not finite become null."""
    write_whole(path, json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False))
