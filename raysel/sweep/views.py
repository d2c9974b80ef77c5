"""Read-only views of sweeps, without Ray."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from raysel.common.disk_errors import cannot, is_absent
from raysel.common.errors import OperationalError, UserError, in_a_line, nearest, user_error
from raysel.common.locations import (
    SUITE_FILE,
    holds_a_suite,
    is_bucket,
    sweep_command,
    sweep_url,
    working_folder,
)
from raysel.common.object_store import Bucket
from raysel.common.paths import A_NAME, A_SWEEP, BESIDE_SWEEPS, is_a_path, is_text
from raysel.common.text import and_more
from raysel.common.user_files import lies_there
from raysel.record.layout import SweepFolder
from raysel.record.ownership import Holder, holder_of_file
from raysel.record.read_only import lease_holder
from raysel.record.state import (
    COMPLETE,
    ENDED,
    INTERRUPTED,
    RUNNING,
    SweepState,
    TrialState,
    fold,
    fold_sweep,
    located,
)
from raysel.spec.sweep import Spec
from raysel.sweep.manifest import manifest_problem
from raysel.sweep.own_record import best_problem, own_events, own_results, own_spec
from raysel.sweep.replica import fetch, storage_errors
from raysel.sweep.results import SweepResults
from raysel.sweep.split import DENIED, split_problem

LEFT = "the driver process died before the sweep finished"
"""The cause of a sweep that is RUNNING in its record although nobody runs it."""


MARKS = ("spec.yaml", "sweep.db", "sweep.backup.db")
"""A folder with one of these files is a sweep's; each can be lost and written again."""


@dataclass(frozen=True)
class SweepView:
    """The current state of one sweep.

    Attributes:
        sweep: RUNNING only while somebody runs it.
        trials: of both phases, in the order in which they started; RUNNING likewise.
        holder: who runs it; None if nobody does.
    """

    folder: SweepFolder
    spec: Spec
    sweep: SweepState
    trials: tuple[TrialState, ...]
    holder: Holder | None

    @property
    def problems(self) -> list[str]:
        """What is wrong with the sweep's files beside record and sweep file, a line each."""
        split = split_problem(self.folder, self.spec, self.sweep)
        again = f"; to mend it: {self.folder.command('reconcile')}"
        found = []
        if split is not None:
            way_on = "" if split.startswith(DENIED) else again
            found.append(f"{self.folder.split} {split}{way_on}")
        if manifest := manifest_problem(self.folder.manifest, self.sweep.manifest):
            found.append(f"{self.folder.manifest} {manifest}{again}")
        gone = [t.id for t in self.trials if t.status in ENDED and t.epochs and self.is_gone(t)]
        if gone:
            found.append(
                f"{self.folder.trials}: the files of {and_more(gone, 3)} are gone; what MLflow has"
                f" of them is brought back by: {self.folder.command('reconcile')}"
            )
        if self.sweep.status == COMPLETE and self.holder is None:  # else it is being written
            try:
                results = own_results(self.folder, self.sweep)
            except OperationalError as error:
                return [*found, str(error)]
            if results.winner and (lost := best_problem(self.folder, self.sweep)):
                found.append(f"{self.folder.best} {lost}; make it again: {self.folder.resume()}")
        return found

    def is_gone(self, trial: TrialState) -> bool:
        """Whether a trial's folder is not there."""
        folder = self.folder.trial(trial.id)
        return folder.is_file() or not lies_there(folder)

    def phase(self, name: str) -> list[TrialState]:
        """The trials of one phase, by number."""
        return sorted((t for t in self.trials if t.phase == name), key=lambda t: t.number)

    def trial(self, name: str) -> TrialState:
        """One trial by its id, or by its number in the search.

        Raises:
            UserError: the sweep has no such trial; the message has the nearest id.
        """
        wanted = name.lstrip("0").zfill(4) if name.isdecimal() and name.isascii() else name
        known = {trial.id: trial for trial in self.trials}
        if wanted in known:
            return known[wanted]
        hint = nearest(wanted, known) if known else "it has none"
        raise user_error(name, f"{self.sweep.name} has no such trial; {hint}")


def names(storage: str) -> list[str]:
    """The names of the sweeps in a storage folder or bucket, in alphabetical order.

    Raises:
        UserError: there is a file or a link to nowhere in the place of the folder.
        OperationalError: the bucket does not answer, or the folder cannot be read.
    """
    if is_bucket(storage):
        bucket = Bucket(storage)
        with storage_errors(bucket):
            return bucket.holding("spec.yaml")
    root = working_folder(storage)
    if lost := leads_nowhere(root):
        raise user_error("--storage", f"{root} is a link to {lost}, which is not there")
    inside = _inside(root)
    others = (path for path in inside if path.name not in BESIDE_SWEEPS)
    links = (path for path in others if not path.name.startswith("."))
    found = _marked(inside) | {path.name for path in links if leads_nowhere(path)}
    return sorted(name for name in found if is_text(name))


def suites(storage: str) -> list[str]:
    """The names of the suites in a storage folder or bucket, in alphabetical order.

    Raises:
        As `names`.
    """
    if is_bucket(storage):
        bucket = Bucket(storage)
        with storage_errors(bucket):
            return bucket.holding(SUITE_FILE)
    inside = _inside(working_folder(storage))
    return sorted(p.name for p in inside if is_text(p.name) and holds_a_suite(p))


def cell_names(storage: str, suite: str) -> list[str]:
    """The names, `suite/cell`, of the cells of a suite that have begun, in alphabetical order.

    Raises:
        As `names`.
    """
    below = Bucket(storage).below(suite).uri if is_bucket(storage) else f"{storage}/{suite}"
    return [f"{suite}/{cell}" for cell in names(below)]


def every_name(storage: str) -> list[str]:
    """The names of all sweeps: those in the storage, and after them the cells of its suites."""
    cells = (name for suite in suites(storage) for name in cell_names(storage, suite))
    return [*names(storage), *cells]


def misnamed(storage: str) -> list[str]:
    """Names of sweep folders that are not UTF-8, which no database address can hold."""
    if is_bucket(storage):
        return []
    found = _marked(_inside(working_folder(storage)))
    return sorted(name for name in found if not is_text(name))


def _inside(root: Path) -> list[Path]:
    """What lies in a storage folder; nothing where there is none."""
    try:
        return list(root.iterdir())
    except NotADirectoryError:
        raise user_error("--storage", f"{root} is a file, no folder of sweeps") from None
    except OSError as error:
        if is_absent(error):
            return []
        raise OperationalError(str(root), cannot("be read", error, root)) from None


def _marked(folders: Iterable[Path]) -> set[str]:
    """Names of the folders that hold one of `MARKS`, and of those that cannot be looked into."""
    return {path.name for path in folders if _is_marked(path)}


def _is_marked(folder: Path) -> bool:
    for file in MARKS:
        try:
            (folder / file).stat()
        except OSError as error:
            if not is_absent(error):
                return bool(A_NAME.fullmatch(folder.name)) and folder.name not in BESIDE_SWEEPS
        else:
            return True
    return False


def leads_nowhere(path: Path) -> str | None:
    """Where a link leads whose target is not there; None of anything else."""
    if not path.is_symlink():
        return None
    try:
        path.stat()
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return str(path.readlink()) if gone else None
    return None


def folder_of(storage: str, name: str) -> SweepFolder:
    """The folder of a sweep that is there; of one in a bucket, brought up to date with it.

    Raises:
        UserError: there is none of that name; the message has the nearest one.
        OperationalError: the bucket does not answer, there is a link to nowhere in its place, or
            it cannot be looked into.
    """
    suite = name.partition("/")[0]
    if suite != name and suite not in suites(storage):
        raise user_error("SWEEP", f'"{name}" is not accepted: {is_a_path(name)}')
    known = cell_names(storage, suite) if suite != name else names(storage)
    if name in known:
        folder = SweepFolder.of(storage, name)
        refuse_link_to_nowhere(folder)
        refuse_unreadable(folder)
        fetch(folder)
        return folder
    if renamed := [one for one in known if _begun_as(storage, one) == name]:
        words = f"the folder of that sweep is called {renamed[0]} in {storage}/ now"
        raise user_error(name, f"{words}; give that name: {renamed[0]}")
    if holds_a_suite(SweepFolder.of(storage, name).path):
        words = "is a suite of several sweeps, and one is wanted here: give suite/cell"
        raise user_error(name, f"{words}; {sweep_command('show', name, storage)} lists them")
    hint = f"; {nearest(name, [*known, *suites(storage)])}" if known else ""
    raise user_error(name, f"there is no sweep of that name in {storage}/{hint}")


def refuse_link_to_nowhere(folder: SweepFolder) -> None:
    """Raise `OperationalError`, with a remedy, for such a link in the place of a sweep's folder."""
    if folder.bucket is None and (lost := leads_nowhere(folder.path)):
        words = f"is a link to {lost}, which is not there; bring that back, or remove the link"
        raise OperationalError(str(folder.path), f"{words}: {folder.command('rm')}")


def refuse_unreadable(folder: SweepFolder) -> None:
    """Raise `OperationalError`, with a remedy, for a sweep's folder that cannot be looked into:
    another user's, or a file system that does not answer."""
    try:
        folder.spec.stat()
    except OSError as error:
        if not is_absent(error):
            words = cannot("be read", error, folder.spec)
            raise OperationalError(str(folder.path), words) from None


def _begun_as(storage: str, name: str) -> str | None:
    """The name that a sweep was given when it began, wherever its folder may have been moved."""
    if is_bucket(storage):
        return None
    try:
        return own_spec(SweepFolder.of(storage, name)).name
    except (UserError, OperationalError):
        return None


def read_sweep(storage: str, name: str) -> SweepView:
    """A sweep by its name.

    Raises:
        UserError: there is none of that name, or its sweep file is not valid.
        OperationalError: its record is lost, cannot be read or is another sweep's.
    """
    folder = folder_of(storage, name)
    spec = _spec(folder, storage)
    # the holder first: a driver that ends in between has written its last event by then
    holder = holder_of(folder, spec)
    events = own_events(folder, spec)
    sweep, trials = located(fold_sweep(events), folder.path), fold(events)
    if holder is not None and sweep.status != COMPLETE:  # reconcile holds an ended one too
        sweep = replace(sweep, status=RUNNING, cause=None)
    elif sweep.status == RUNNING:
        sweep = replace(sweep, status=INTERRUPTED, cause=LEFT)
    if sweep.status != RUNNING:
        trials = {name: _left(trial) for name, trial in trials.items()}
    return SweepView(folder, spec, sweep, tuple(trials.values()), holder)


def located_sweep(address: str, storage: str) -> tuple[str, str]:
    """The storage and the name of a sweep, as `read_sweep` takes them.

    Args:
        address: `s3://bucket/folder/NAME`, the path of its folder, or its name in the storage
            (`suite/cell` of a cell).

    Raises:
        UserError: the address of an object store names no sweep.
        OperationalError: the bucket does not answer.
    """
    if is_bucket(address):
        uri, mark, options = address.partition("?")
        above, _, name = uri.rstrip("/").rpartition("/")
        if above.endswith("/"):
            raise user_error(address, f"names no sweep in its bucket; give {uri.rstrip('/')}/NAME")
        return above + mark + options, name
    folder = Path(address)
    if "/" not in address:
        return storage, address
    first = address.partition("/")[0]
    if not folder.is_dir() and A_SWEEP.fullmatch(address) and first in suites(storage):
        return storage, address
    return str(folder.parent), folder.name


def read_all(storage: str, cells: bool) -> Iterator[tuple[str, SweepView | str]]:
    """Every sweep of a storage folder by its name; a line in the place of one that cannot be
    read.

    Args:
        cells: whether those of suites are wanted too.
    """
    for name in misnamed(storage):
        shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        yield shown, "the folder's name is not UTF-8: rename it, and it is a sweep again"
    for name in every_name(storage) if cells else names(storage):
        try:
            yield name, read_sweep(storage, name)
        except (UserError, OperationalError) as error:
            yield name, in_a_line(error)


def read_results(storage: str, name: str) -> tuple[SweepView, SweepResults]:
    """A sweep by its name, and its results, complete or not.

    Raises:
        UserError: there is none of that name, or its sweep file is not valid.
        OperationalError: it has no results yet, or they or its record cannot be read.
    """
    view = read_sweep(storage, name)
    return view, own_results(view.folder, view.sweep)


def _spec(folder: SweepFolder, storage: str) -> Spec:
    """The sweep file, with the storage where it was found: the folder may have been moved."""
    there = folder.storage_of_its_file(storage)
    return own_spec(folder).model_copy(update={"storage": there})


def holder_of(folder: SweepFolder, spec: Spec) -> Holder | None:
    """Who runs the sweep, None if nobody does.

    Raises:
        OperationalError: its database cannot be reached.
    """
    holder = holder_of_file(folder.lock)
    if holder is not None or spec.database_url is None:
        return holder
    return lease_holder(sweep_url(spec.database_url, folder.record, spec.name))


def _left(trial: TrialState) -> TrialState:
    if trial.status != RUNNING:
        return trial
    return replace(trial, status=INTERRUPTED, cause=LEFT)
