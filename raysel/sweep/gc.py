"""Find and remove unused files of a storage folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from raysel.common.disk_errors import cannot
from raysel.common.errors import OperationalError, UserError, user_error
from raysel.common.locations import sweep_url, working_folder
from raysel.common.object_store import Bucket
from raysel.common.text import and_more
from raysel.record.layout import CACHE, SweepFolder
from raysel.record.ownership import FileOwner, OwnedElsewhere, holder_of_file
from raysel.record.read_only import drop_schema, lease_holder
from raysel.record.state import COMPLETE, ENDED
from raysel.spec.reader import load_resolved
from raysel.spec.sweep import Spec
from raysel.sweep.plan_cache import PLANS
from raysel.sweep.replica import run_elsewhere, storage_errors
from raysel.sweep.views import (
    SweepView,
    cell_names,
    every_name,
    folder_of,
    holder_of,
    leads_nowhere,
    read_all,
    read_sweep,
    suites,
)

_SHOWN = 3  # links within a folder


@dataclass(frozen=True)
class Leftover:
    """Something that can be removed.

    Attributes:
        what: in words.
        paths: files and folders.
        bytes: what they hold.
        record: URL of a record in PostgreSQL that goes with them.
        bucket: a sweep's place in an object store that goes with them.
        folder: of the sweep that it belongs to; nobody may run that one while it is removed.
        lease: URL of that sweep's record, if the record has a lease.
        storage: where a cache lies; nobody may run a sweep of it.
    """

    what: str
    paths: tuple[Path, ...]
    bytes: int
    record: str | None = None
    bucket: Bucket | None = None
    folder: SweepFolder | None = None
    lease: str | None = None
    storage: str | None = None


@dataclass(frozen=True)
class Leftovers:
    """What can be removed, and lines about what is kept and why."""

    found: tuple[Leftover, ...]
    kept: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(leftover.bytes for leftover in self.found)


def leftovers(storage: str) -> Leftovers:
    """Find what can be removed from a storage folder; nothing is removed yet.

    Everything that a sweep needs to resume is kept: its trials' checkpoints, and all files of
    one that runs. The caches are kept while any sweep runs or cannot be read.
    """
    found: list[Leftover] = []
    kept: list[str] = []
    may_run = False
    for name in _without_links(storage):
        try:
            view = read_sweep(storage, name)
        except (UserError, OperationalError) as error:
            may_run = True
            kept.append(f"{name}: stays as it is; {' · '.join(str(error).splitlines())}")
            continue
        if view.holder is not None:
            may_run = True
            kept.append(f"{name}: stays as it is; it is run by {view.holder}")
            continue
        found += _of_sweep(view)
    for name in suites(storage):
        folder = SweepFolder.of(storage, name)
        if holder_of_file(folder.lock) is None and folder.tune.is_dir():
            found.append(
                replace(_leftover(f"{name}: Ray's own files", [folder.tune]), folder=folder)
            )
    cache = working_folder(storage) / CACHE
    if may_run and cache.is_dir():
        kept.append(f"{CACHE}: stays while a sweep runs or cannot be read")
    elif cache.is_symlink():
        kept.append(f"{CACHE}: stays; it is a link to {cache.resolve()}")
    elif cache.is_dir():
        found += [
            replace(
                _leftover(f"{CACHE}/{path.name}: made again when it is needed", [path]),
                storage=storage,
            )
            for path in sorted(cache.iterdir())
            if path.name != PLANS
        ]
    return Leftovers(tuple(item for item in found if item.paths), tuple(kept))


def _without_links(storage: str) -> list[str]:
    """The names of the sweeps, but for links to others of the same storage."""
    known, root = every_name(storage), working_folder(storage)
    own = {(root / name).resolve() for name in known if not (root / name).is_symlink()}
    return [n for n in known if leads_nowhere(root / n) or not _is_link_to(root / n, own)]


def _is_link_to(path: Path, folders: set[Path]) -> bool:
    return path.is_symlink() and path.resolve() in folders


def sweep_to_remove(storage: str, name: str, even_elsewhere: bool = False) -> Leftover:
    """A sweep that is not running, as an argument of `remove`.

    Args:
        even_elsewhere: also one in a bucket that another machine may run.

    Raises:
        UserError: there is none of that name, or it is running.
        OperationalError: its database cannot be reached.
    """
    link = SweepFolder.of(storage, name)
    if link.bucket is None and (lost := leads_nowhere(link.path)):
        what = f"{name}: the link {link.path} alone; it leads to {lost}, which is not there"
        return Leftover(what, (link.path,), 0)
    folder = folder_of(storage, name)
    spec = _spec(folder)
    holder = holder_of_file(folder.lock) if spec is None else holder_of(folder, spec)
    if holder is not None:
        raise user_error(name, f"is run by {holder}; stop it first: {folder.command('stop')}")
    if not folder.lock.exists() and (pid := _opened_by(folder.record)) is not None:
        raise user_error(name, f"its record is open in process {pid}; end that one first")
    if not even_elsewhere and (why := run_elsewhere(folder)) is not None:
        raise user_error(name, f"{why}; stop it there, or remove it all the same: --yes")
    if folder.path.is_symlink() and folder.bucket is None:
        # what it leads to is another sweep's folder, or this one's under its own name
        what = f"{name}: the link {folder.path} alone; {folder.path.resolve()} stays"
        return Leftover(what, (folder.path,), 0)
    what = f"{name}: everything in {folder.path}"
    what += f" and in {folder.bucket}" if folder.bucket is not None else ""
    what += _links_within(folder.path)
    found = replace(_leftover(what, [folder.path]), bucket=folder.bucket, folder=folder)
    if spec is None or spec.database_url is None:
        return found
    url = sweep_url(spec.database_url, folder.record, spec.name)
    return replace(found, what=f"{what}, and its record in the database", record=url, lease=url)


def suite_to_remove(storage: str, name: str) -> list[Leftover]:
    """A suite that is not running, as an argument of `remove`: its cells, then what is left of its
    folder.

    Raises:
        UserError: there is none of that name, or it is running.
        OperationalError: as in `sweep_to_remove`.
    """
    folder = SweepFolder.of(storage, name)
    if (holder := holder_of_file(folder.lock)) is not None:
        raise user_error(name, f"is run by {holder}; stop it first: {folder.command('stop')}")
    cells = [sweep_to_remove(storage, cell) for cell in cell_names(storage, name)]
    own = _leftover(f"{name}: the suite's own files in {folder.path}", [folder.path])
    own = replace(own, bytes=own.bytes - sum(cell.bytes for cell in cells))
    return [*cells, replace(own, bucket=folder.bucket, folder=folder)]


def _opened_by(file: Path) -> int | None:
    """A process of this machine that has a file open; None if none is known."""
    wanted = str(file.resolve())
    for process in psutil.process_iter(["pid", "open_files"]):
        if any(opened.path == wanted for opened in process.info["open_files"] or ()):
            return int(process.info["pid"])
    return None


def _links_within(folder: Path) -> str:
    """What stays although the folder goes: what links in it lead to, elsewhere."""
    whole = folder.resolve()
    links = [
        path
        for parent, folders, files in os.walk(folder)
        for path in (Path(parent, name) for name in (*folders, *files))
        if path.is_symlink() and not path.resolve().is_relative_to(whole)
    ]
    if not links:
        return ""
    shown = and_more([f"{link.relative_to(folder)} to {link.resolve()}" for link in links], _SHOWN)
    what = "the link" if len(links) == 1 else "the links"
    return f"; of {what} {shown} the target stays"


def _spec(folder: SweepFolder) -> Spec | None:
    """The sweep file; None if it is damaged: such a sweep can be removed as well."""
    try:
        return load_resolved(folder.spec)
    except UserError:
        return None


def remove(items: Iterable[Leftover]) -> list[str]:
    """Remove them; what could not be removed, or is run by now, in a line each.

    Raises:
        OperationalError: a database or a bucket cannot be reached; no folder was removed.
    """
    problems = []
    for item in items:
        try:
            with _kept_out(item):
                problems += _remove(item)
        except OwnedElsewhere as held:  # it was started while a person was asked
            problems.append(f"{item.what}: stays; {held}")
    return problems


@contextmanager
def _kept_out(item: Leftover) -> Iterator[None]:
    """Lock what is removed against new drivers.

    Raises:
        OwnedElsewhere: one has begun.
    """
    owner = None
    if item.folder is not None:
        name = item.folder.name
        if item.lease is not None and (holder := lease_holder(item.lease)) is not None:
            raise OwnedElsewhere(name, holder, item.folder.storage)
        try:
            if item.folder.path.is_dir():
                owner = FileOwner(item.folder.lock, name)
        except OperationalError:
            if item.folder.lock.exists():
                raise
            # a full disk takes no new file: nobody holds a lock that is not there
    if item.storage is not None:
        for _, view in read_all(item.storage, cells=True):
            if isinstance(view, SweepView) and view.holder is not None:
                raise OwnedElsewhere(view.spec.name, view.holder, str(item.storage))
    try:
        yield
    finally:
        if owner is not None:
            owner.release()


def _remove(item: Leftover) -> list[str]:
    if item.bucket is not None:
        with storage_errors(item.bucket):
            item.bucket.delete(item.bucket.sizes())
    if item.record is not None:
        drop_schema(item.record)
    problems = []
    for path in item.paths:
        if (bar := _barred(path)) is not None:  # half a sweep would be left
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            words = cannot("be removed", denied, bar)
            problems.append(f"{path}: {words}; nothing of it was removed")
            continue
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            problems.append(f"{path}: cannot be removed: {error.strerror}")
    return problems


def _barred(path: Path) -> Path | None:
    """The folder that keeps this user from removing a file, or a folder with all in it; None where
    nothing does."""
    above = path.absolute().parent
    inside = [Path(one) for one, _, _ in os.walk(path)] if not path.is_symlink() else []
    folders = (one for one in (above, *inside) if one.is_dir())
    return next((one for one in folders if not _may_empty(one)), None)


def _may_empty(folder: Path) -> bool:
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return True  # by its rights: the attempt reports the disk
    effective = os.access in os.supports_effective_ids
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)


def left_of(items: Iterable[Leftover]) -> int:
    """Bytes that they still hold, after `remove`."""
    return sum(_size(path) for item in items for path in item.paths)


def _of_sweep(view: SweepView) -> Iterator[Leftover]:
    name, folder = view.folder.name, view.folder
    found = {
        "Ray's own files": [folder.tune] if folder.tune.is_dir() else [],
        "unused checkpoints": _checkpoints(view),
        "half-written files": list(folder.path.glob(".*.partial")),
    }
    lease = (
        sweep_url(view.spec.database_url, folder.record, view.spec.name)
        if view.spec.database_url
        else None
    )
    for what, paths in found.items():
        own = [path for path in paths if _is_below(path, folder.path)]
        yield replace(_leftover(f"{name}: {what}", own), folder=folder, lease=lease)


def _is_below(path: Path, folder: Path) -> bool:
    """Whether a path lies in the folder itself, and not behind a link that leads out of it."""
    return path.parent.resolve().is_relative_to(folder.resolve()) and not path.is_symlink()


def _checkpoints(view: SweepView) -> list[Path]:
    """Of trials that have ended or that the record does not know, and half-written ones.

    The last checkpoint of a confirm run is what the best model is made from: it stays until
    the sweep is complete.
    """
    trials = {trial.id: trial for trial in view.trials}
    needed = set()
    if view.sweep.status != COMPLETE:
        needed = {t.id for t in trials.values() if t.status not in ENDED or t.phase == "confirm"}
    root = view.folder.path / "trials"
    files = [*root.glob("*/checkpoint*.pt"), *root.glob("*/.checkpoint.pt.*")]
    return sorted(p for p in files if p.parent.name not in needed or p.name.startswith("."))


def _leftover(what: str, paths: Iterable[Path]) -> Leftover:
    listed = tuple(paths)
    return Leftover(what, listed, sum(_size(path) for path in listed))


def _size(path: Path) -> int:
    files = [path] if path.is_file() or path.is_symlink() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())
