"""One life of a sweep's driver: prepare, search, confirm, sum up.

Everything that outlives the process is in the sweep's folder; `resume` is the same session
over the same folder.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import ray

from raysel import spec_file, user_code
from raysel.errors import Problem, UserError, user_error
from raysel.models.build import Blueprint, read_weights
from raysel.models.data_config import model_input
from raysel.models.layers import Partition, partition_of
from raysel.search import budget
from raysel.space import Space
from raysel.spec import Spec
from raysel.strategies import registered
from raysel.sweep.books import Books
from raysel.sweep.cluster import Capacity, connected, foreseen
from raysel.sweep.confirm import ConfirmLedger, finalists, runs_of
from raysel.sweep.engine import Ledger, StopRequest, run_phase
from raysel.sweep.folder import CODE, SweepFolder, write_json, write_whole
from raysel.sweep.manifest import manifest, new_sweep_id, versions
from raysel.sweep.results import results
from raysel.sweep.search import StudyLedger, open_study
from raysel.sweep.trainable import Shared
from raysel.tasks.catalog import load_task
from raysel.tasks.data import Task
from raysel.tracking.process import WriterProcess
from raysel.tracking.record import SWEEP, Event, Kind, Record, sqlite_url
from raysel.tracking.state import ENDED, TrialState, fold, fold_sweep
from raysel.training import checkpoint
from raysel.training.source import SourceModel, kept_source_model, source_model
from raysel.validate import check_cluster

DRAIN_SECONDS = 60.0
"""How long the end of a sweep waits for MLflow."""


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

    def stopping(self) -> None:
        """The user asked to stop."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a session leaves, for reports and hand-over.

    Attributes:
        results: the content of `results.json`.
        weights: the initial weights of every trial.
    """

    folder: SweepFolder
    results: dict[str, Any]
    task: Task
    blueprint: Blueprint
    weights: dict[str, Any]
    complete: bool
    tracking_uri: str


Publish = Callable[[Outcome], None]
"""Makes report and model from the outcome, before the sweep is called finished."""


def start(spec: Spec, watcher: Watcher, publish: Publish) -> Outcome:
    """Run a new sweep.

    Raises:
        UserError: a sweep of that name exists, or the cluster is too small.
    """
    folder = SweepFolder.of(spec.storage, spec.name)
    if folder.path.exists():
        raise UserError(_exists(folder, spec))
    sources = user_code.read(spec.code_files, Path())
    spec = user_code.located(spec, sources, CODE)
    return _Session(spec, folder, watcher, sources).run(publish)


def resume(storage: str, name: str, watcher: Watcher, publish: Publish) -> Outcome:
    """Go on with a sweep that was interrupted; a finished one is summed up again.

    Raises:
        UserError: there is no such sweep.
    """
    folder = SweepFolder.of(storage, name)
    if not folder.spec.is_file():
        raise user_error(name, f"there is no sweep of that name in {storage}/")
    spec = spec_file.load(folder.spec).model_copy(update={"storage": storage})
    sources = user_code.read(spec.code_files, folder.path)
    return _Session(spec, folder, watcher, sources).run(publish)


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

    def run(self, publish: Publish) -> Outcome:
        task = self._task()
        layers = partition_of(
            self.spec.model.name, self.spec.model.partition, len(task.classes), task.channels
        )
        space = Space(self.spec, layers.names)
        if problems := check_cluster(self.spec, *astuple(foreseen())):
            raise UserError(*problems)
        if problem := _moved_split(self.folder, task):
            raise UserError(problem)
        books, writer = self._open(layers, task)  # before Ray: MLflow takes seconds to import
        try:
            with connected() as capacity, self._signals():
                return self._run(task, layers, space, capacity, books, writer, publish)
        finally:
            writer.stop()
            books.record.close()

    def _task(self) -> Task:
        spec = self.spec
        wanted = spec.model.weights == "source" or _needs_source(spec)
        return load_task(spec.task, model_input(spec.model.name), wanted, self.watcher.decoding)

    def _run(
        self,
        task: Task,
        layers: Partition,
        space: Space,
        capacity: Capacity,
        books: Books,
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
        for note in task.notes:
            self.watcher.note(note)
        blueprint = Blueprint(spec.model.name, len(task.classes), task.channels, task.image_size)
        weights, source = self._weights(task, blueprint)
        shared = _shared(spec, task, layers, blueprint, weights, self.folder.path, self.code)
        self._search(space, books, shared, concurrent, total)
        if not self.stop.asked:
            self._confirm(books, task, shared, concurrent)
        complete = not self.stop.asked
        outcome = Outcome(
            folder=self.folder,
            results=results(
                spec,
                self.sweep_id,
                layers,
                self._trials(books),
                source,
                {"seconds": time.perf_counter() - self.started},
                versions(),
                complete,
            ),
            task=task,
            blueprint=blueprint,
            weights=weights,
            complete=complete,
            tracking_uri=tracking_uri(spec),
        )
        write_json(self.folder.results, outcome.results)
        publish(outcome)
        if complete:
            self._drop_checkpoints(outcome)
        self._finish(books, outcome)
        writer.drain(DRAIN_SECONDS)
        return outcome

    def _open(self, layers: Partition, task: Task) -> tuple[Books, WriterProcess]:
        """The folder, the record and the MLflow writer."""
        spec, folder = self.spec, self.folder
        folder.path.mkdir(parents=True, exist_ok=True)
        facts = manifest() | {"code": user_code.hashes(self.code)}
        if not folder.spec.exists():
            for source in self.code:
                write_whole(folder.code / source.name, source.text)
            write_whole(folder.spec, spec.to_yaml())
            write_json(folder.manifest, facts)
        if not folder.split.exists():
            write_json(folder.split, task.record)
        record = Record(sqlite_url(folder.record))
        lives = [e for e in record.events() if e.event.trial == SWEEP]
        life = 1 + sum(e.event.kind in (Kind.SWEEP, Kind.RESUMED) for e in lives)
        books = Books(record, life, self._observe)
        payload = {
            "name": spec.name,
            "sweep_id": new_sweep_id(spec.name),
            "description": spec.description,
            "spec": spec.to_yaml(),
            "layers": list(layers.names),
            "layer_sizes": [layer.size for layer in layers.layers],
            "manifest": facts,
            "folder": str(folder.path),
            "objective": spec.objective.model_dump(),
        }
        if not books.write(SWEEP, Kind.SWEEP, 0, payload):
            books.write(SWEEP, Kind.RESUMED, life, {})
        self.sweep_id = fold_sweep(stored.event for stored in record.events()).id
        writer = WriterProcess(
            sqlite_url(folder.record),
            tracking_uri(spec),
            spec.tracking.experiment or spec.name,
            folder.path.parent / "mlartifacts",
            folder.writer_log,
        )
        writer.start()
        return books, writer

    def _weights(
        self, task: Task, blueprint: Blueprint
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Initial weights as arrays, and what is told of the source model."""
        wanted = self.spec.model.weights
        if wanted == "pretrained":
            return {}, None
        if wanted != "source":
            return {n: t.numpy() for n, t in read_weights(Path(wanted)).items()}, None
        model = self._source_model(task, blueprint)
        examples = len(task.source_train or ()) + len(task.source_validation or ())
        self.watcher.source(model, self.spec, examples)
        told = {"validation_accuracy": model.accuracy, "seconds": model.seconds}
        return {name: tensor.numpy() for name, tensor in model.weights.items()}, told

    def _source_model(self, task: Task, blueprint: Blueprint) -> SourceModel:
        seed, cache = self.spec.task.split.seed, self.folder.source_cache
        cpus, gpus = self.spec.resources.cpus, self.spec.resources.gpus
        kept = kept_source_model(task, blueprint, seed, cpus, cache)
        if kept is not None:
            return kept
        # with a trial's resources, on a worker: the driver's machine may have no GPU
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus)(_train_source)
        task = replace(task, test=None)  # type: ignore[arg-type]  # sealed parts stay here
        model: SourceModel = ray.get(remote.remote(self.code, task, blueprint, seed, cpus, cache))
        return model

    def _search(
        self, space: Space, books: Books, shared: Shared, concurrent: int, total: int
    ) -> None:
        study = open_study(self.spec, space, sqlite_url(self.folder.record))
        ledger = StudyLedger(self.spec, space, study, books)
        done = [t for t in self._trials(books) if t.phase == "search" and t.status in ENDED]
        self.watcher.phase("search", total, done)
        if len(done) < total:
            self._run_phase(ledger, shared, concurrent, "search")
        ledger.interrupt("stopped by the user")

    def _confirm(self, books: Books, task: Task, shared: Shared, concurrent: int) -> None:
        trials = self._trials(books)
        runs = runs_of(self.spec, finalists(trials, self.spec.objective))
        ended = [t for t in trials if t.phase == "confirm" and t.status in ENDED]
        self.watcher.phase("confirm", len(runs), ended)
        if len(ended) >= len(runs):
            return
        ledger = ConfirmLedger(runs, [t.id for t in ended], books)
        with task.test.opened() as test:
            unsealed = replace(shared, test=test, keep_best=self.spec.confirm.epoch == "best")
            self._run_phase(ledger, unsealed, concurrent, "confirm")
        ledger.interrupt("stopped by the user")

    def _run_phase(self, ledger: Ledger, shared: Shared, concurrent: int, name: str) -> None:
        storage = self.folder.tune / f"{name}-{time.time_ns()}"
        run_phase(ledger, shared, self.spec.resources, concurrent, storage, self.stop)

    def _observe(self, event: Event) -> None:
        """Show the event; a trial of the search that has ended needs no checkpoint any more."""
        self.watcher.event(event)
        if event.kind == Kind.ENDED and event.trial.isdigit():
            checkpoint.remove(self.folder.trial(event.trial))

    def _drop_checkpoints(self, outcome: Outcome) -> None:
        """The confirm runs' checkpoints, once the best model was made from one of them."""
        for row in outcome.results["confirm"]:
            for run in row["runs"]:
                checkpoint.remove(self.folder.trial(run["id"]))

    def _trials(self, books: Books) -> list[TrialState]:
        return list(fold(stored.event for stored in books.record.events()).values())

    def _finish(self, books: Books, outcome: Outcome) -> None:
        payload = {
            "status": "COMPLETE" if outcome.complete else "INTERRUPTED",
            "cause": None if outcome.complete else "stopped by the user",
            "verdict": outcome.results["verdict"]["sentence"],
        }
        books.write(SWEEP, Kind.FINISHED, books.life, payload)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask the engine to stop."""

        def ask(*_: object) -> None:
            self.stop.ask()
            self.watcher.stopping()

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


def tracking_uri(spec: Spec) -> str:
    """The MLflow store: the one that the file names, or SQLite beside the runs."""
    default = sqlite_url(Path(spec.storage).absolute() / "mlflow.db")
    return spec.tracking.uri or default


def _needs_source(spec: Spec) -> bool:
    return any(registered()[name].needs for name in spec.strategies)


def _shared(
    spec: Spec,
    task: Task,
    layers: Partition,
    blueprint: Blueprint,
    weights: dict[str, Any],
    folder: Path,
    code: tuple[user_code.Source, ...],
) -> Shared:
    """What the search's trials share; the test part is not in it."""
    return Shared(
        blueprint=blueprint,
        partition=layers,
        weights=weights,
        train=task.train,
        validation=task.validation,
        source=task.source_train if _needs_source(spec) else None,
        test=None,
        mean=task.mean,
        std=task.std,
        objective=spec.objective,
        keep_best=False,
        trace_every=spec.trace.every,
        threads=spec.resources.cpus,
        folder=folder,
        code=code,
        diagnostics=spec.trace.diagnostics,
    )


def _moved_split(folder: SweepFolder, task: Task) -> Problem | None:
    """What to say where a sweep that goes on would train on other examples than it began with."""
    if not folder.split.is_file():
        return None
    began = json.loads(folder.split.read_text(encoding="utf-8"))
    if began["fingerprint"] == task.record["fingerprint"] and began["parts"] == dict(
        task.record["parts"]
    ):
        return None
    message = (
        f"the data are not those that the sweep began with ({folder.split}): its trials could"
        " not be compared. Bring the data back, or begin a new sweep: --set name=NAME"
    )
    return Problem("task.data", message)


def _exists(folder: SweepFolder, spec: Spec) -> Problem:
    done = ""
    if folder.record.is_file():
        record = Record(sqlite_url(folder.record))
        trials = fold(stored.event for stored in record.events()).values()
        record.close()
        ended = sum(t.phase == "search" and t.status in ENDED for t in trials)
        done = f" ({ended} of {spec.search.num_trials} trials done)"
    return Problem(
        "",
        f'a sweep named "{spec.name}" exists{done}. Go on: raysel resume {spec.name}. '
        f"New one: --set name={spec.name}-2",
    )


def read_results(folder: SweepFolder) -> dict[str, Any]:
    """The content of `results.json`."""
    content: dict[str, Any] = json.loads(folder.results.read_text(encoding="utf-8"))
    return content
