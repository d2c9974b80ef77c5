"""Where a sweep lies: its files in a folder, of which a bucket may have the copy that lasts; its
record in a SQLite file there, or in a schema of its own in PostgreSQL.

An URL says it all, so that it can be handed to another process; a password is never in it
(PGPASSWORD or ~/.pgpass has it).
"""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from raysel.common.deferred import Deferred
from raysel.common.errors import Problem, UserError, nearest, user_error
from raysel.common.paths import is_text, plain
from raysel.common.urls import port_problem, secret_in

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

engine, exc, psutil = Deferred("sqlalchemy.engine"), Deferred("sqlalchemy.exc"), Deferred("psutil")

_DRIVER = "postgresql+psycopg"

IDLE_SECONDS = 20
"""PostgreSQL ends a transaction whose process says nothing for so long: a frozen driver must
not hold a lock for ever."""

_NETWORK = ("nfs", "cifs", "smb", "sshfs", "ceph", "lustre", "gluster", "beegfs", "gpfs", "9p")


SPEC_FILE = "spec.yaml"
"""The resolved sweep file in the folder of a sweep that has begun."""

BACKUP_FILE = "sweep.backup.db"
"""The last copy of a SQLite record, beside it."""

SUITE_FILE = "suite.json"
"""In the folder of a suite, in which those of its cells lie."""

BUCKETS = ("s3", "gs")
"""The schemes of object stores."""


def is_bucket(storage: str) -> bool:
    """Whether `storage` names an object store, and no folder."""
    return urlsplit(storage, allow_fragments=False).scheme in BUCKETS


def working_folder(storage: str) -> Path:
    """The folder on this machine that holds the sweeps of `storage`: itself, or below the
    user's cache folder the one in which a bucket's sweeps are worked on.

    Raises:
        UserError: its path is not UTF-8, as no address of a database can hold it.
    """
    if not is_bucket(storage):
        folder = Path(plain(storage)).absolute()
        if not is_text(str(folder)):
            shown = os.fsencode(folder).decode(errors="backslashreplace")
            raise user_error("--storage", f"{shown} is not UTF-8; rename the folder")
        return folder
    uri, _, options = storage.partition("?")
    parts = urlsplit(uri, allow_fragments=False)
    kind = f"{parts.scheme}-{hashlib.sha256(options.encode()).hexdigest()[:8]}" if options else ""
    path = parts.path.strip("/")
    return user_cache() / "storage" / (kind or parts.scheme) / (parts.hostname or "") / path


_OPTIONS = {
    "s3": (
        *("region", "scheme", "endpoint_override", "allow_bucket_creation"),
        *("allow_bucket_deletion", "force_virtual_addressing", "tls_ca_file_path"),
    ),
    "gs": ("scheme", "endpoint_override", "retry_limit_seconds", "project_id"),
}
"""What may stand behind the `?` of an object store's address."""


def check_bucket(storage: str) -> Problem | None:
    """What is wrong with an object store's address; nothing is asked of it."""
    try:
        parts = urlsplit(storage, allow_fragments=False)
        named, user = bool(parts.hostname), parts.username
    except ValueError:
        return Problem("storage", "is not an address; give s3://bucket/folder")
    secret = secret_in(storage) or (None if user in (None, "anonymous") else "credentials")
    if secret:
        return Problem(
            "storage",
            f"holds {secret}; leave credentials to the environment, ~/.aws/credentials or a role",
        )
    if not named:
        given = f'"{storage}" names no bucket'
        return Problem("storage", f"{given}; give {parts.scheme}://bucket/folder")
    known = _OPTIONS[parts.scheme]
    for key, _ in parse_qsl(parts.query, keep_blank_values=True):
        if key not in known:
            return Problem("storage", f'has no option "{key}"; {nearest(key, known)}')
    return None


def holds_a_suite(folder: Path) -> bool:
    """Whether a folder is that of a suite; False of one that cannot be looked into."""
    try:
        return (folder / SUITE_FILE).is_file()
    except OSError:
        return False


def name_of(folder: Path) -> str:
    """The name of a sweep by its folder: `suite/cell` of one that lies in a suite's."""
    above = folder.parent
    return f"{above.name}/{folder.name}" if holds_a_suite(above) else folder.name


def storage_of(folder: Path) -> Path:
    """The storage folder that a sweep's folder lies in, be it as a cell of a suite."""
    above = folder.parent
    return above.parent if holds_a_suite(above) else above


def sweep_command(verb: str, name: str, storage: str, *options: str) -> str:
    """What to type to do something with a sweep; the storage is named where it is not the default.

    Another sweep of the name may lie in the default one, which a command without it would act on.
    """
    default = not is_bucket(storage) and working_folder(storage) == Path("runs").absolute()
    where = [] if default else ["--storage", storage]
    return shlex.join(["raysel", verb, name, *options, *where])


def resume_command(name: str, storage: str, *options: str) -> str:
    """What to type to go on with a sweep."""
    return sweep_command("resume", name, storage, *options)


def way_back(folder: Path, storage: str) -> str:
    """How to go on with a sweep whose SQLite record is lost or damaged.

    Args:
        folder: the sweep's, here.
        storage: as it is given to `raysel resume`.
    """
    name = name_of(folder)
    if (folder / BACKUP_FILE).is_file():
        again = resume_command(name, storage, "--from-backup")
        return f"go on from its last copy ({BACKUP_FILE}): {again}"
    removal = sweep_command("rm", name, storage)
    return f"there is no copy ({BACKUP_FILE}) to go on from; {removal} removes it"


def continue_command(folder: Path, storage: str) -> str:
    """What to type once the storage works again. Before a sweep's file is written nothing has
    begun that could be resumed.

    Args:
        folder: the sweep's, here.
        storage: as it is given to `raysel resume`.
    """
    begun = (folder / SPEC_FILE).exists()
    return resume_command(name_of(folder), storage) if begun else "raysel run FILE"


def user_cache() -> Path:
    """raysel's own folder for what can be had again."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(plain(base)).absolute() / "raysel"


def sqlite_url(path: Path) -> str:
    """The database URL of a SQLite file for SQLAlchemy and Optuna; the path is made absolute."""
    return str(engine.URL.create("sqlite", database=str(path.absolute())))


def mlflow_uri(path: Path) -> str:
    """MLflow's address of a SQLite file: the path as it stands, where SQLAlchemy reads it so too.

    MLflow takes the folder from the address without a look at escapes: it would make `j%C3%BCrgen`
    beside `jürgen`. See `raysel.mlflow_sync.store` for paths that cannot be written so.
    """
    return f"sqlite:///{path.absolute()}" if is_read_alike(path) else sqlite_url(path)


def is_read_alike(path: Path) -> bool:
    """Whether SQLAlchemy finds a path in a URL that holds it as it stands."""
    whole = str(path.absolute())
    return engine.make_url(f"sqlite:///{whole}").database == whole


def sqlite_file(uri: str) -> Path | None:
    """The file of a database URL or a tracking URI; None where it names something else."""
    if not uri.startswith("sqlite"):
        return None
    database = engine.make_url(uri).database
    return Path(database) if database else None


def sweep_url(record: str | None, file: Path, sweep: str) -> str:
    """The record of one sweep.

    Args:
        record: `database_url` of the sweep file; None for the file beside the sweep's others.
        file: that file.
        sweep: the sweep's name; in PostgreSQL the schema `raysel_<name>` is the sweep's.

    Raises:
        UserError: the URL is none that raysel can use.
    """
    if record is None:
        return sqlite_url(file)
    if problem := check_record_url(record, sweep):
        raise UserError(problem)
    url = engine.make_url(record).set(drivername=_DRIVER)
    if missing := missing_driver(_DRIVER + "://"):
        raise UserError(Problem("database_url", missing))
    options = f'-csearch_path="{schema_name(sweep)}" '
    options += f"-cidle_in_transaction_session_timeout={IDLE_SECONDS}s"
    return str(url.update_query_dict({"options": options}))


def schema_name(sweep: str) -> str:
    """PostgreSQL's schema of a sweep."""
    return f"raysel_{sweep}"


def secret_keys(url: URL) -> list[str]:
    """The keys of a database URL's query that hold a password: PostgreSQL takes it there too."""
    return [key for key in url.query if "password" in key.lower()]


def check_record_url(record: str, sweep: str) -> Problem | None:
    """What is wrong with `database_url` of a sweep file."""
    if secret := secret_in(record):
        return Problem("database_url", f"holds {secret}; put it into PGPASSWORD or ~/.pgpass")
    try:
        url = engine.make_url(record)
    except (exc.ArgumentError, ValueError):  # a port that is not a number
        return Problem(
            "database_url", f'"{record}" is no URL; give postgresql://user@host/database'
        )
    if url.get_backend_name() != "postgresql":
        return Problem(
            "database_url",
            f"{url.drivername} is not supported; give postgresql://…, or leave"
            " it out for SQLite beside the runs",
        )
    if wrong := port_problem(record):
        return Problem("database_url", wrong)
    if len(schema_name(sweep).encode()) > 63:
        return Problem("name", "with PostgreSQL a name has 56 characters at most")
    return None


def missing_driver(url: str) -> str | None:
    """Which package a database URL needs that is not installed, and how to install it; None where
    nothing is missing."""
    try:
        engine.make_url(url).get_dialect().import_dbapi()
    except exc.NoSuchModuleError:
        return f"SQLAlchemy knows no driver {engine.make_url(url).drivername}"
    except ImportError as error:
        package = error.name or engine.make_url(url).get_driver_name()
        known = _PACKAGES.get(package, package)
        return f'needs the package {package}, which is not installed: pip install "{known}"'
    except (exc.ArgumentError, ValueError):
        return None  # no URL of a database
    return None


_PACKAGES = {"psycopg": "raysel[postgres]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def missing_store(storage: str) -> str | None:
    """Whether pyarrow was built without an object store's client, in words."""
    from pyarrow import fs  # noqa: PLC0415

    name = {"s3": "S3FileSystem", "gs": "GcsFileSystem"}[urlsplit(storage).scheme]
    try:
        getattr(fs, name)
    except (ImportError, AttributeError):
        return f"this pyarrow was built without {name}: pip install --force-reinstall pyarrow"
    return None


def network_file_system(folder: Path) -> str | None:
    """The type of the network file system that holds `folder`, None for a local disk."""
    places = {Path(p.mountpoint): p.fstype for p in psutil.disk_partitions(all=True)}
    holder = next((p for p in (folder.absolute(), *folder.absolute().parents) if p in places), None)
    kind = places[holder] if holder else ""
    return kind if any(name in kind.lower() for name in _NETWORK) else None
