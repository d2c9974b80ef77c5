"""One life of a sweep's driver: prepare, search, confirm, sum up.

Everything that outlives the process is in the sweep's folder; `resume` is the same session
over the same folder.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import ray

from raysel import spec_file, user_code
from raysel.errors import Problem, Trouble, UserError, nearest, user_error
from raysel.models.build import Blueprint
from raysel.models.layers import Partition
from raysel.places import sweep_url
from raysel.search import budget
from raysel.space import Space
from raysel.spec import Spec
from raysel.sweep.agreement import agreed
from raysel.sweep.backup import restore
from raysel.sweep.cluster import Capacity, connected, foreseen
from raysel.sweep.confirm import ConfirmLedger, finalists, runs_of
from raysel.sweep.engine import Ledger, StopRequest, run_phase
from raysel.sweep.failures import Failures
from raysel.sweep.folder import CODE, SweepFolder, tracking_uri, write_json
from raysel.sweep.inputs import (
    blueprint_of,
    layers_of,
    ready_weights,
    shared_by_trials,
    task_of,
)
from raysel.sweep.manifest import versions
from raysel.sweep.opening import continued, open_sweep, stored_spec
from raysel.sweep.reading import holder_of
from raysel.sweep.results import results
from raysel.sweep.search import StudyLedger
from raysel.tasks.data import Task
from raysel.tracking.database import told
from raysel.tracking.owner import Held
from raysel.tracking.process import WriterProcess
from raysel.tracking.reading import read_events
from raysel.tracking.record import SWEEP, Event, Kind
from raysel.tracking.state import ENDED, RUNNING, TrialState, fold
from raysel.training import checkpoint, troubles
from raysel.training.source import SourceModel, kept_source_model, source_model
from raysel.training.trial import Shared
from raysel.validate import check_cluster

DRAIN_SECONDS = 60.0
"""How long the end of a sweep waits for MLflow."""

DRAIN_AT_ONCE = 2.0
"""The same where a person does not want to wait."""


class Watcher(Protocol):
    """Whoever shows the sweep to a person."""

    def began(self, spec: Spec, trials: int, strategies: int, concurrent: int) -> None:
        """What will be done."""
        ...

    def decoding(self, done: int, total: int) -> None:
        """So many pictures of a part are decoded."""
        ...

    def note(self, text: str) -> None:
        """Something that a person should know of the data."""
        ...

    def source(self, model: SourceModel, spec: Spec, examples: int) -> None:
        """The source model is there."""
        ...

    def phase(self, name: str, total: int, ended: Sequence[TrialState]) -> None:
        """A phase of `total` trials begins, some of which ended in an earlier life."""
        ...

    def event(self, event: Event) -> None:
        """An event was committed."""
        ...

    def stopping(self, cause: str) -> None:
        """The sweep is to end in order."""
        ...

    def tracker(self, words: str) -> None:
        """MLflow is away, or back; called from another thread."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a session leaves, for reports and hand-over.

    Attributes:
        results: the content of `results.json`.
        weights: the initial weights of every trial; None where it ended before they were there.
        cause: why it ended before it was complete.
        failed: it ended because its trials fail, one like the other.
    """

    folder: SweepFolder
    results: dict[str, Any]
    task: Task
    blueprint: Blueprint
    weights: dict[str, Any] | None
    complete: bool
    cause: str | None
    failed: bool
    tracking_uri: str


Publish = Callable[[Outcome], None]
"""Makes report and model from the outcome, before the sweep is called finished."""


def start(
    spec: Spec, watcher: Watcher, publish: Publish, resume_if_exists: bool = False
) -> Outcome:
    """Run a new sweep, or go on with the one of that name where that is wished.

    Raises:
        UserError: a sweep of that name exists or would change its meaning, or the cluster is
            too small.
        Trouble: the sweep's record cannot be kept.
    """
    folder = SweepFolder.of(spec.storage, spec.name)
    stored = stored_spec(spec, folder)
    if stored is not None and not resume_if_exists:
        if (holder := holder_of(folder, spec)) is not None:
            raise Held(spec.name, holder)
        raise UserError(_exists(folder, stored))
    sources = user_code.read(spec.code_files, Path())
    spec = user_code.located(spec, sources, CODE)
    if stored is not None:
        spec = continued(stored, spec)
    return _Session(spec, folder, watcher, sources).run(publish)


def resume(
    storage: str,
    name: str,
    watcher: Watcher,
    publish: Publish,
    overrides: Sequence[str] = (),
    from_backup: bool = False,
) -> Outcome:
    """Go on with a sweep that was interrupted; a finished one is summed up again.

    Args:
        overrides: `search.num_trials=60` and the like extend it.
        from_backup: put the last copy of its record in the place of a damaged one first.

    Raises:
        UserError: there is no such sweep, or it would change its meaning.
        Trouble: the sweep's record cannot be read or kept.
    """
    folder = existing_folder(storage, name)
    stored = spec_file.load(folder.spec)
    wanted = spec_file.load(folder.spec, overrides)
    spec = continued(stored, wanted).model_copy(update={"storage": storage})
    if from_backup:
        if spec.record is not None:
            raise user_error("--from-backup", "the record lies in PostgreSQL, which has its own")
        restore(folder)
    sources = user_code.read(spec.code_files, folder.path)
    return _Session(spec, folder, watcher, sources).run(publish)


def existing_folder(storage: str, name: str) -> SweepFolder:
    """The folder of a sweep.

    Raises:
        UserError: there is no such sweep; the nearest name is told.
    """
    folder = SweepFolder.of(storage, name)
    if folder.spec.is_file():
        return folder
    root = Path(storage)
    known = sorted(p.parent.name for p in root.glob("*/spec.yaml")) if root.is_dir() else []
    near = f"; {nearest(name, known)}" if known else ""
    raise user_error(name, f"there is no sweep of that name in {storage}/{near}")


class _Session:
    def __init__(
        self,
        spec: Spec,
        folder: SweepFolder,
        watcher: Watcher,
        code: tuple[user_code.Source, ...],
    ) -> None:
        user_code.load(code)
        self.spec, self.folder, self.watcher, self.code = spec, folder, watcher, code
        self.started = time.perf_counter()
        self.stop = StopRequest()
        self.failures = Failures(self._ask_to_stop)

    def run(self, publish: Publish) -> Outcome:
        try:
            return self._own_and_run(publish)
        except (UserError, Trouble):
            raise
        except Exception as error:
            if words := troubles.of_the_disk(error):
                raise Trouble(str(self.folder.path), words) from error
            raise

    def _own_and_run(self, publish: Publish) -> Outcome:
        task = task_of(self.spec, self.watcher.decoding)
        layers = layers_of(self.spec, task)
        space = Space(self.spec, layers.names)
        if problems := check_cluster(self.spec, *astuple(foreseen())):
            raise UserError(*problems)
        self.sweep = open_sweep(
            self.spec,
            self.folder,
            layers,
            task,
            self.code,
            self._observe,
            self._ask_to_stop,
            self.stop.fail,
        )
        try:
            writer = self._start_writer()  # before Ray: MLflow takes seconds to import
            try:
                with connected() as capacity, self._signals(), self._time_budget():
                    return self._run(task, layers, space, capacity, writer, publish)
            finally:
                writer.stop()
        finally:
            self.sweep.close()

    def _run(
        self,
        task: Task,
        layers: Partition,
        space: Space,
        capacity: Capacity,
        writer: WriterProcess,
        publish: Publish,
    ) -> Outcome:
        spec = self.spec
        resources = spec.resources
        concurrent = capacity.concurrent(
            resources.cpus, resources.gpus, resources.max_concurrent_trials
        )
        total = budget(spec.search, space)
        self.watcher.began(spec, total, len(space.strategies), concurrent)
        blueprint = blueprint_of(spec, task)
        for note in task.notes:
            self.watcher.note(note)
        weights, source = self._weights(task, blueprint)
        if weights is not None:
            shared = shared_by_trials(
                spec, task, layers, blueprint, weights, self.folder.path, self.code
            )
            self._search(space, shared, concurrent, total)
            if not self.stop.asked:
                self._confirm(task, shared, concurrent)
        complete = not self.stop.asked
        if not complete:
            self._interrupt_the_rest()
        outcome = Outcome(
            folder=self.folder,
            results=results(
                spec,
                self.sweep.id,
                layers,
                self._trials(),
                source,
                {"seconds": self.sweep.spent + time.perf_counter() - self.started},
                versions(),
                complete,
            ),
            task=task,
            blueprint=blueprint,
            weights=weights,
            complete=complete,
            cause=None if complete else self.stop.cause,
            failed=self.failures.too_many,
            tracking_uri=tracking_uri(spec),
        )
        write_json(self.folder.results, outcome.results)
        publish(outcome)
        if complete:
            self._drop_checkpoints(outcome)
        self._finish(outcome)
        self._drain(writer)
        return outcome

    def _drain(self, writer: WriterProcess) -> None:
        """Wait for MLflow, not for ever, and say what it does not have then."""
        if not writer.drain(DRAIN_AT_ONCE if self.stop.at_once else DRAIN_SECONDS):
            left = writer.behind()
            what = f"{left} record{'s' * (left != 1)}" if left else "some files"
            self.watcher.tracker(f"{what} not sent yet: raysel reconcile {self.spec.name}")

    def _start_writer(self) -> WriterProcess:
        spec, folder = self.spec, self.folder
        writer = WriterProcess(
            self.sweep.url,
            tracking_uri(spec),
            spec.tracking.experiment or spec.name,
            folder.path.parent / "mlartifacts",
            folder.writer_log,
            self.watcher.tracker,
            self.sweep.owner.fence,
        )
        writer.start()
        return writer

    def _weights(
        self, task: Task, blueprint: Blueprint
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Initial weights as arrays, and what is told of the source model; None where the sweep
        was to stop before they were there."""
        ready = ready_weights(self.spec, blueprint)
        if ready is not None:
            return ready, None
        model = self._source_model(task, blueprint)
        if model is None:
            return None, None
        examples = len(task.source_train or ()) + len(task.source_validation or ())
        self.watcher.source(model, self.spec, examples)
        told = {"validation_accuracy": model.accuracy, "seconds": model.seconds}
        return {name: tensor.numpy() for name, tensor in model.weights.items()}, told

    def _source_model(self, task: Task, blueprint: Blueprint) -> SourceModel | None:
        seed, cache = self.spec.task.split.seed, self.folder.source_cache
        cpus, gpus = self.spec.resources.cpus, self.spec.resources.gpus
        kept = kept_source_model(task, blueprint, seed, cpus, cache)
        if kept is not None:
            return kept
        # with a trial's resources, on a worker: the driver's machine may have no GPU
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus)(_train_source)
        task = replace(task, test=None)  # type: ignore[arg-type]  # sealed parts stay here
        training = remote.remote(self.code, task, blueprint, seed, cpus, cache)
        while not ray.wait([training], timeout=0.2)[0]:
            if self.stop.asked:  # it has no epoch that could be gone on from
                ray.cancel(training, force=True)
                return None
        model: SourceModel = ray.get(training)
        return model

    def _search(self, space: Space, shared: Shared, concurrent: int, total: int) -> None:
        sweep = self.sweep
        events = [stored.event for stored in sweep.books.record.events()]
        with told(sweep.url):  # the study's troubles too
            study, _ = agreed(self.spec, space, sweep.url, events, fold(events), sweep.owner)
            ledger = StudyLedger(self.spec, space, study, sweep.books)
            done = [t for t in self._trials() if t.phase == "search" and t.status in ENDED]
            self.watcher.phase("search", total, done)
            if len(done) < total:
                self._run_phase(ledger, shared, concurrent, "search")
        ledger.interrupt(self.stop.cause)

    def _confirm(self, task: Task, shared: Shared, concurrent: int) -> None:
        trials = self._trials()
        runs = runs_of(self.spec, finalists(trials, self.spec.objective), trials)
        names = {run.trial for _, run in runs}
        ended = [t for t in trials if t.id in names and t.status in ENDED]
        self.watcher.phase("confirm", len(runs), ended)
        if len(ended) >= len(runs):
            return
        ledger = ConfirmLedger(runs, [t.id for t in ended], self.sweep.books)
        with task.test.opened() as test:
            unsealed = replace(shared, test=test, keep_best=self.spec.confirm.epoch == "best")
            self._run_phase(ledger, unsealed, concurrent, "confirm")
        ledger.interrupt(self.stop.cause)

    def _interrupt_the_rest(self) -> None:
        """What an earlier driver left RUNNING and this one did not come to take up."""
        for trial in self._trials():
            if trial.status == RUNNING:
                self.sweep.books.interrupted(trial.id, self.stop.cause)

    def _run_phase(self, ledger: Ledger, shared: Shared, concurrent: int, name: str) -> None:
        storage = self.folder.tune / f"{name}-{time.time_ns()}"
        run_phase(ledger, shared, self.spec.resources, concurrent, storage, self.stop)

    def _observe(self, event: Event) -> None:
        """Show the event; a trial of the search that has ended needs no checkpoint any more."""
        self.watcher.event(event)
        self.failures.see(event)
        if event.kind == Kind.ENDED and event.trial.isdigit():
            checkpoint.remove(self.folder.trial(event.trial))

    def _drop_checkpoints(self, outcome: Outcome) -> None:
        """The confirm runs' checkpoints, once the best model was made from one of them."""
        for row in outcome.results["confirm"]:
            for run in row["runs"]:
                checkpoint.remove(self.folder.trial(run["id"]))

    def _trials(self) -> list[TrialState]:
        return list(fold(stored.event for stored in self.sweep.books.record.events()).values())

    def _finish(self, outcome: Outcome) -> None:
        payload = {
            "status": "COMPLETE" if outcome.complete else "INTERRUPTED",
            "cause": outcome.cause,
            "verdict": outcome.results["verdict"]["sentence"],
        }
        books = self.sweep.books
        books.write(SWEEP, Kind.FINISHED, books.life, payload)

    @contextmanager
    def _time_budget(self) -> Iterator[None]:
        """End in order when the time of all lives is used up."""
        total = self.spec.budget.total
        if total is None:
            yield
            return
        left = total - self.sweep.spent - (time.perf_counter() - self.started)
        cause = f"the time budget of {total:g} s is used up"
        timer = threading.Timer(max(0.0, left), self._ask_to_stop, [cause])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _ask_to_stop(self, cause: str) -> None:
        if not self.stop.asked:
            self.stop.ask(cause)
            self.watcher.stopping(cause)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask the engine to stop."""

        def ask(sign: int, _: object) -> None:
            again = self.stop.asked
            self.stop.ask("stopped by Ctrl-C" if sign == signal.SIGINT else "stopped by SIGTERM")
            if not again:
                self.watcher.stopping(self.stop.cause)

        before = {sign: signal.signal(sign, ask) for sign in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)


def _train_source(code: tuple[user_code.Source, ...], *arguments: Any) -> SourceModel:
    """`source_model` on a worker, to which the model may be known by the user's code alone."""
    user_code.load(code)
    return source_model(*arguments)


def _exists(folder: SweepFolder, stored: Spec) -> Problem:
    name = stored.name
    trials = fold(read_events(sweep_url(stored.record, folder.record, name))).values()
    ended = sum(t.phase == "search" and t.status in ENDED for t in trials)
    return Problem(
        "",
        f'a sweep named "{name}" exists ({ended} of {stored.search.num_trials} trials done). '
        f"Go on: raysel resume {name}. New one: --set name={name}-2",
    )


def read_results(folder: SweepFolder) -> dict[str, Any]:
    """The content of `results.json`."""
    content: dict[str, Any] = json.loads(folder.results.read_text(encoding="utf-8"))
    return content
