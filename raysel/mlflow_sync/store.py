"""MLflow's store at a tracking URI: looked at before MLflow opens it, created atomically, its files
where they are now, a client for it.

Before MLflow opens a store without a server:
- What lies at the path may be a folder or no database: MLflow would try it for over a minute.
- Its tables may be another version's. MLflow itself would bring older ones up to date unasked,
  where one of today's is missing: a server of the older version, beside it on the same database,
  could then no longer start.
- It may be gone or emptied: MLflow would make tables in it, also for who only looks.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import mlflow
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from mlflow.entities import Run
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy.engine import make_url

from raysel.common.locations import is_read_alike, mlflow_uri, sqlite_file
from raysel.common.user_files import no_sqlite_database
from raysel.mlflow_sync.runs import SWEEP_ID, TRIAL_ID
from raysel.record.database import make_private
from raysel.record.events import SWEEP

SERVERS = ("http://", "https://", "databricks")
"""Prefixes of tracking URIs for which a server decides where files are stored."""

_CONNECT_SECONDS = 10

WAY_ON = (
    "move it away (raysel reconcile SWEEP sends each sweep's runs anew), or give another"
    " tracking.uri"
)
"""What to do about a file that is no store."""


class UnusableStore(Exception):
    """No store that this MLflow can use lies at an address; the words follow the address."""


def lost_store(uri: str) -> str | None:
    """Why there is no store in the SQLite file of a tracking URI, in words: the file is gone or
    empty; None where something is there that `check_store` looks at, or the URI names no file."""
    file = sqlite_file(uri)
    if file is None:
        return None
    try:
        return None if file.stat().st_size else "is empty (0 bytes)"
    except (FileNotFoundError, NotADirectoryError):
        return None if file.is_symlink() else "is not there"
    except OSError:
        return None


def check_store(uri: str) -> None:
    """Look at a store before MLflow does; nothing is written.

    Args:
        uri: a tracking URI; that of a server is not looked at, and neither is a lost store.

    Raises:
        UnusableStore: no database lies there, or one with the tables of an older or newer version.
        sqlalchemy.exc.DBAPIError: it does not answer.
    """
    if uri.startswith(SERVERS) or lost_store(uri):
        return
    file = sqlite_file(uri)
    if file is not None and (wrong := no_sqlite_database(file)):
        raise UnusableStore(f"{wrong}; {WAY_ON}")
    found = _revision(uri)
    if found is None:
        return
    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if found == scripts.get_current_head():
        return
    ours = f"MLflow {mlflow.__version__}"
    try:
        known = bool(found) and scripts.get_revision(found) is not None
    except CommandError:
        known = False
    if known or not found:
        raise UnusableStore(
            f"has the tables of an MLflow older than {ours} (schema {found or 'unknown'}); "
            f"take a copy, then: {shlex.join(['mlflow', 'db', 'upgrade', uri])}"
        )
    raise UnusableStore(
        f"has the tables of an MLflow newer than {ours} (schema {found}); install that one here"
    )


def _revision(uri: str) -> str | None:
    """The store's revision; "" where it has tables without one, None where it has no tables."""
    url = make_url(uri)
    patience = {"connect_timeout": _CONNECT_SECONDS} if url.get_backend_name() != "sqlite" else {}
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=patience)
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        if "experiments" not in tables:
            return None
        if "alembic_version" not in tables:
            return ""
        return connection.scalar(sa.text("SELECT version_num FROM alembic_version")) or ""


# --- where a sweep's files are now ----------------------------------------------------------------

_EXPERIMENTS = sa.table("experiments", sa.column("experiment_id"), sa.column("artifact_location"))
_RUNS = sa.table("runs", sa.column("experiment_id"), sa.column("artifact_uri"))


def as_uri(root: str) -> str | None:
    """The URI of a folder for artifacts; None if MLflow is to decide."""
    if not root:
        return None
    return root if "://" in root else Path(root).absolute().as_uri()


def is_moved(uri: str, location: str, root: str) -> bool:
    """Whether an experiment's files are in `root` and no longer where MLflow looks.

    In a store without a server MLflow keeps an absolute path with every experiment and every run,
    and its API cannot change it. After the storage was moved it would find none of the files, and
    would write new ones below the old path. A store that lies beside `root` has moved with it; with
    another one, an address that leads to no folder any more is an old one.

    Args:
        uri: MLflow's tracking URI.
        location: the experiment's `artifact_location`.
        root: the folder of the storage for MLflow's files, or a URI.
    """
    wanted = as_uri(root)
    if uri.startswith(SERVERS) or wanted is None or not wanted.startswith("file:"):
        return False
    if not location.startswith("file:") or location.rstrip("/") == wanted.rstrip("/"):
        return False
    file = sqlite_file(uri)
    beside = file is not None and file.absolute().parent == Path(root).absolute().parent
    return beside or not Path(local_file_uri_to_path(location)).parent.is_dir()


def move(uri: str, experiment_id: str, location: str, root: str) -> None:
    """Replace `location` by `root` in the artifact URIs of an experiment and its runs.

    Raises:
        sqlalchemy.exc.DBAPIError: the store does not answer.
    """
    wanted = as_uri(root)
    assert wanted is not None
    old = location.rstrip("/")
    runs = _RUNS.c
    below = sa.func.substr(runs.artifact_uri, 1, len(old) + 1) == f"{old}/"
    moved = sa.literal(wanted) + sa.func.substr(runs.artifact_uri, len(old) + 1)
    engine = sa.create_engine(make_url(uri), poolclass=sa.NullPool)
    number = int(experiment_id)
    with engine.begin() as connection:
        connection.execute(
            sa.update(_EXPERIMENTS)
            .where(_EXPERIMENTS.c.experiment_id == number)
            .values(artifact_location=wanted)
        )
        connection.execute(
            sa.update(_RUNS).where(runs.experiment_id == number, below).values(artifact_uri=moved)
        )


# --- a new store, and a client --------------------------------------------------------------------


def ensure_store(uri: str) -> None:
    """Create the SQLite file of a tracking URI if it is missing or empty, whole or not at all;
    leave other stores alone.

    MLflow makes its tables by some fifty migrations, in seconds. A process that ends in between (a
    full disk, a sweep that is over, SIGKILL) would leave a file that every MLflow takes for an
    older version's.
    """
    file = sqlite_file(uri)
    if file is None or not lost_store(uri):
        return
    file = file.resolve()  # of a link, the file that it leads to
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(file.parent):
        if not lost_store(uri):  # another sweep's process has made it
            return
        partial = file.with_name(f".{file.name}.partial")
        partial.unlink(missing_ok=True)  # of one that did not come to its end
        make_private(partial)
        # MLflow's own experiment "Default" would lie below the working folder, whose name it
        # writes into its SQL as it stands
        root = (file.parent.absolute() / "mlruns").as_uri()
        SqlAlchemyStore(readable_uri(mlflow_uri(partial)), root).engine.dispose()
        partial.replace(file)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time; the lock goes with its process and leaves no file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def client(uri: str) -> MlflowClient:
    """The client of a tracking URI; a SQLite file's folder must be there."""
    return MlflowClient(readable_uri(uri))


def runs_of(client: MlflowClient, experiment_id: str, sweep_id: str) -> dict[str, list[Run]]:
    """A sweep's runs by their trials, `SWEEP` for its own; of each the first one made comes
    first."""
    runs: dict[str, list[Run]] = {}
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.`{SWEEP_ID}` = '{sweep_id}'",
            order_by=["attributes.start_time ASC"],
            max_results=1000,
            page_token=token,
        )
        for run in page:
            runs.setdefault(run.data.tags.get(TRIAL_ID, SWEEP), []).append(run)
        token = page.token
        if not token:
            return runs


def readable_uri(uri: str) -> str:
    """An address of the same store that MLflow and SQLAlchemy read alike, in this process.

    Of a SQLite file the path is read twice: MLflow makes the folder of the path as it stands in the
    address, SQLAlchemy opens the file without the escapes. Where the two differ (`?`, `%20`), the
    file is reached through a path that has nothing to escape.
    """
    file = sqlite_file(uri)
    if file is None:
        return uri
    plain = file.absolute()
    if not is_read_alike(plain):
        plain = _open_folder(plain.parent) / plain.name
    query = make_url(uri).query
    return mlflow_uri(plain) + ("?" + uri.partition("?")[2] if query else "")


@cache
def _open_folder(folder: Path) -> Path:
    """A path of the folder through this process's table of open files; the folder itself where
    the system has none."""
    opened = Path(f"/proc/self/fd/{os.open(folder, os.O_RDONLY | os.O_DIRECTORY)}")
    return opened if opened.is_dir() else folder
