"""One attempt of a sweep's driver: prepare, search, confirm, sum up.

Everything that outlives the process is in the sweep's folder; `resume` is the same session
over the same folder.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from raysel.common.errors import UserError
from raysel.common.text import LINE, first_line
from raysel.engine import nodes
from raysel.engine.capacity import concurrent as most_at_a_time
from raysel.engine.capacity import too_large
from raysel.engine.connect import connected, expected_nodes, grows
from raysel.engine.ray_processes import watching
from raysel.engine.signals import after_seconds, on_signals
from raysel.engine.trial_source import Phase, Wait
from raysel.engine.tune import run_phases
from raysel.mlflow_sync.process import WriterProcess
from raysel.record.event_log import EventLog
from raysel.record.events import SWEEP, Event, Kind
from raysel.record.layout import SweepFolder, tracking_uri, write_json, write_whole
from raysel.record.state import ENDED, RUNNING, TrialState, fold
from raysel.search.trial_budget import budget, space_notes
from raysel.spec import user_code
from raysel.spec.sweep import Spec
from raysel.sweep.changed_verdict import changed_on_disk
from raysel.sweep.confirm import ConfirmController, of_round, runs_of
from raysel.sweep.confirm_rounds import asked, rounds, undecided
from raysel.sweep.errors_in_words import in_words
from raysel.sweep.existing import OwnedSweep, open_sweep
from raysel.sweep.export_process import EXPORTER
from raysel.sweep.fold_results import fold_results, fold_verdict
from raysel.sweep.initial_weights import SOURCE, source_phases
from raysel.sweep.inputs import SweepInputs, all_tested, read_inputs, ready_weights
from raysel.sweep.manifest import versions
from raysel.sweep.outcome import Outcome, Publish
from raysel.sweep.plan_cache import brief, read_plan
from raysel.sweep.priors import prior_notes
from raysel.sweep.progress_reporter import ProgressReporter
from raysel.sweep.range_search import begun_space, range_phase
from raysel.sweep.ray_gone import leave_without_ray
from raysel.sweep.repeated_failures import Failures
from raysel.sweep.results import Spent
from raysel.sweep.search_controller import SearchController
from raysel.sweep.stopper import Stopper
from raysel.sweep.verdict_words import round_in_words
from raysel.training.trial_worker import PhaseContext

DRAIN_SECONDS = 60.0
"""How long the end of a sweep waits for MLflow."""

DRAIN_AT_ONCE = 2.0
"""The same after a request to stop at once."""


def run_session(
    spec: Spec,
    folder: SweepFolder,
    reporter: ProgressReporter,
    code: tuple[user_code.Source, ...],
    publish: Publish,
) -> Outcome:
    """Run the rest of a sweep.

    Args:
        publish: writes report and model from the outcome, before the sweep is marked
            finished.

    Raises:
        UserError: the cluster is too small, or the data are not those it began with.
        OperationalError: another driver owns it, or its record cannot be kept.
    """
    started = time.perf_counter()
    sweep: OwnedSweep | None = None
    try:
        inputs = inputs_of(spec, reporter, code)
        stopper = Stopper(reporter)
        failures = Failures(stopper.ask)

        def observe(event: Event) -> None:
            reporter.event(event)
            failures.see(event)

        opened = partial(open_sweep, inputs, folder, observe, stopper.ask, stopper.request.fail)
        with on_signals(stopper.ask_again), closing(opened(reporter.storage)) as sweep:
            session = Session(inputs, folder, reporter, sweep, stopper, failures, started)
            return session.run(publish)
    except Exception as error:
        found = in_words(error, sweep, folder)
        if found is error:
            raise
        raise found from error


def inputs_of(
    spec: Spec, reporter: ProgressReporter, code: tuple[user_code.Source, ...]
) -> SweepInputs:
    """What the trials work on, with the weights that need no training."""
    splits = spec.confirm.most_splits
    inputs = read_inputs(spec, code, reporter.decoding, reporter.data, splits)
    problems = too_large(expected_nodes(), spec.resources)
    if problems and not grows():
        raise UserError(*problems)
    for problem in problems:
        reporter.note(f"{problem}; waiting for the autoscaler")
    if spec.model.weights == "pretrained":
        reporter.note(f"taking timm's weights of {spec.model.name} …")

    def with_weights(own: SweepInputs) -> SweepInputs:
        return replace(own, weights=ready_weights(own.spec, own.model_config, reporter.note))

    return inputs.mapped(with_weights)  # fetched before anything is left behind


class Session:
    """One attempt over a sweep that this process owns.

    Args:
        in_training: source models that cells of the suite train now, shared by these.
    """

    def __init__(
        self,
        inputs: SweepInputs,
        folder: SweepFolder,
        reporter: ProgressReporter,
        sweep: OwnedSweep,
        stopper: Stopper,
        failures: Failures,
        started: float,
        in_training: set[Path] | None = None,
    ) -> None:
        self.in_training = set() if in_training is None else in_training
        self.inputs, self.spec, self.folder = inputs, inputs.spec, folder
        self.reporter, self.sweep = reporter, sweep
        self.stopper, self.stop, self.failures = stopper, stopper.request, failures
        self.started = started

    def run(self, publish: Publish) -> Outcome:
        """Search, confirm, sum up; see `run_session`."""
        writer = self.start_writer()  # before Ray: MLflow takes seconds to import
        try:
            with connected() as there, watching(self._leave), self._in_time():
                if not self.stop.asked:  # while Ray was starting
                    concurrent = most_at_a_time(there, self.spec.resources, grows())
                    storage = self.folder.tune / str(time.time_ns())
                    phases = self.phases(concurrent)
                    run_phases(phases, self.spec.resources, concurrent, storage, self, self.stop)
                outcome = self.end(publish)
                self.drain(writer)
                self.sweep.deliver()
                self.sweep.watch.check()
                return outcome
        except Exception as error:
            self.record_end(first_line(error, LINE))
            raise
        finally:
            writer.stop()

    def phases(self, concurrent: int) -> Generator[Phase | Wait]:
        """All phases, after what is said first; the inputs then have the weights, where these were
        made.

        Args:
            concurrent: how many trials run at a time.
        """
        spec, space = self.spec, self.inputs.space
        total = budget(spec.search, space)
        self.reporter.began(spec, total, len(space.arms), concurrent)
        token = nodes.new_token(self.folder)
        of_space = space_notes(spec.search, space)
        earlier = prior_notes(self.sweep.prior, spec.search, space)
        notes = (*self.inputs.task.notes, *of_space, *earlier, nodes.check_storage(self.folder))
        for note in filter(None, notes):
            self.reporter.note(note)
        yield from self._phases(total, token)

    def end(self, publish: Publish) -> Outcome:
        """Sum up, publish, and record the end.

        Raises:
            Exception: the driver's failure: nothing more is written.
        """
        if self.stop.error is not None:
            raise self.stop.error
        if self.stop.asked:
            self._interrupt_the_rest(self.sweep.event_log, self.stop.cause)
        return self._end(self._outcome(), publish)

    def _leave(self, what: str) -> None:
        """Ray has ended under the sweep: record it and exit, because the main thread may wait for
        Ray for ever. A whole group of processes that is stopped (systemd, a container) ends so."""

        def record(cause: str) -> None:
            self.record_end(cause)
            with suppress(Exception):
                self.sweep.close()

        leave_without_ray(self.stop, self.reporter, self.folder.name, what, self._resume(), record)

    def _outcome(self) -> Outcome:
        inputs, complete = self.inputs, not self.stop.asked
        spent = Spent(seconds=self._spent(), planned=brief(read_plan(self.spec)))
        results = fold_results(
            *(inputs, self.sweep.id, self._trials(), spent, versions(), complete),
            self.folder.trial,
            self.sweep.prior,
        )
        return Outcome(
            folder=self.folder,
            results=results,
            changed=changed_on_disk(self.folder, results),
            inputs=inputs,
            complete=complete,
            cause=None if complete else self.stop.cause,
            resume=self._resume(),
            failed=self.failures.too_many,
            tracking_uri=tracking_uri(self.spec),
            checkpoint=self.sweep.checkpoint,
        )

    def _end(self, outcome: Outcome, publish: Publish) -> Outcome:
        self.sweep.watch.check()
        write_json(self.folder.results, outcome.results.to_dict())
        outcome = publish(outcome)
        if outcome.complete:
            self._drop_checkpoints(outcome)
        self._finish(outcome)
        return outcome

    def drain(self, writer: WriterProcess) -> None:
        """Wait for MLflow with a timeout, and report what it does not have then."""
        if not writer.drain(DRAIN_AT_ONCE if self.stop.at_once else DRAIN_SECONDS):
            left = writer.lag()
            what = f"{left} record{'s' * (left != 1)}" if left else "some files"
            self.reporter.tracker(f"{what} not sent yet: {self.folder.command('reconcile')}")

    def start_writer(self) -> WriterProcess:
        """Start the export to MLflow."""
        spec, folder = self.spec, self.folder
        writer = WriterProcess(
            self.sweep.url,
            tracking_uri(spec),
            spec.experiment,
            folder.mlflow_files,
            folder.writer_log,
            self.reporter.tracker,
            self.sweep.owner.fence,
            folder.path,
            EXPORTER,
        )
        writer.start()
        return writer

    def _phases(self, total: int, token: str | None) -> Generator[Phase | Wait]:
        """Training of the source model, range tests, search, then the rounds of the confirm phase;
        only what has not ended yet. Each is asked for when the one before has ended."""
        if self.inputs.weights is None:
            cache = self.folder.source_cache
            training = source_phases(self.inputs, cache, self.reporter, self.in_training, total)
            self.inputs = yield from training
        shared = self.inputs.shared(self.folder.path).located(self.folder.bucket, token)
        log, space, examples = self.sweep.event_log, self.inputs.space, self.inputs.task.validation
        yield from range_phase(self.spec, space, log, self.reporter, shared, total)
        space = begun_space(self.spec, space, self._trials())
        controller = SearchController(self.spec, space, log, len(examples))
        done = [t for t in self._trials() if t.phase == "search" and t.status in ENDED]
        if count := max(total, len(done)):  # num_trials may be lowered; 0: nothing is searched
            self.reporter.phase("search", count, done)
        if len(done) < total:
            yield Phase(controller, shared, total - len(done))
        with all_tested(shared, self.inputs) as unsealed:
            yield from self._confirm(unsealed)

    def _confirm(self, shared: PhaseContext) -> Iterator[Phase]:
        """Round by round, until the question is decided or there are as many runs as asked for."""
        counts, open_ones = rounds(self.spec.confirm), None
        for number, splits in enumerate(counts, 1):
            controller = self._confirm_round(splits, open_ones)
            last = number == len(counts)
            if controller is not None:
                yield Phase(controller, shared, controller.left, last)
            if last:
                return
            verdict = fold_verdict(self.inputs, self._trials(), self.folder.trial)
            open_ones = undecided(verdict)
            so_far = round_in_words(asked(verdict)) or verdict.sentence
            note = f"confirm round {number} of at most {len(counts)}, {splits} splits: {so_far}"
            self.reporter.note(note if open_ones else f"{note}; no further runs are needed")
            if not open_ones:
                return

    def _confirm_round(self, splits: int, strategies: set[str] | None) -> ConfirmController | None:
        """The runs of the first so many splits that are not there yet; None if all are.

        Args:
            strategies: the only ones whose question is open; None takes all.
        """
        trials = self._trials()
        chosen = of_round(self.spec, self.inputs.space.single, trials, strategies)
        runs = runs_of(self.spec, chosen, trials, splits)
        names = {run.trial for _, run in runs}
        ended = [t for t in trials if t.id in names and t.status in ENDED]
        self.reporter.phase("confirm", len(runs), ended)
        if len(ended) >= len(runs):
            return None
        return ConfirmController(runs, [t.id for t in ended], self.sweep.event_log)

    def _interrupt_the_rest(self, event_log: EventLog, cause: str) -> None:
        """Mark as INTERRUPTED the trials that a previous driver left RUNNING and this one did not
        restart."""
        for trial in self._trials():
            if trial.status == RUNNING:
                event_log.interrupted(trial.id, cause)

    def record_end(self, cause: str) -> None:
        """Write into the record why this driver ends before the sweep does, as far as it can be
        written: `raysel list` then need not guess. What is ended already stays as it is."""
        payload = {"status": "INTERRUPTED", "cause": cause, "verdict": None, "model": None}
        event_log = self.sweep.log_of_the_end()
        with suppress(Exception):  # the record itself may be what fails
            self._interrupt_the_rest(event_log, cause)
            event_log.write(SWEEP, Kind.FINISHED, event_log.attempt, payload)

    def receive(self, trial: str, name: str, content: bytes) -> None:
        """See `engine.WorkerEvents`."""
        write_whole(self.folder.trial(trial) / name, content)

    def worker_lost(self, trial: str) -> None:
        """See `engine.WorkerEvents`."""
        if trial.startswith(SOURCE):
            self.reporter.note("the source model's training lost its worker; it begins anew")
        elif any(t.id == trial and t.status == RUNNING for t in self._trials()):
            self.reporter.note(f"trial {trial} lost its worker; it goes on with another")

    def _drop_checkpoints(self, outcome: Outcome) -> None:
        """The confirm runs' checkpoints, once the best model was made from one of them."""
        for run in outcome.results.confirm_runs:
            self.sweep.discard_checkpoints(run.id)
        if self.folder.bucket is None:
            nodes.tidied(self.folder.path)

    def _trials(self) -> list[TrialState]:
        return list(fold(stored.event for stored in self.sweep.event_log.record.events()).values())

    def _finish(self, outcome: Outcome) -> None:
        payload = {
            "status": "COMPLETE" if outcome.complete else "INTERRUPTED",
            "cause": outcome.cause,
            "verdict": outcome.results.verdict.sentence,
            "confirmed": [row.brief() for row in outcome.results.confirm],
            "model": outcome.model and str(outcome.model),
        }
        event_log = self.sweep.event_log
        event_log.write(SWEEP, Kind.FINISHED, event_log.attempt, payload)

    def _in_time(self) -> AbstractContextManager[None]:
        total = self.spec.budget.total
        return after_seconds(total, (total or 0.0) - self._spent(), self.stopper.ask)

    def _spent(self) -> float:
        """Seconds of all attempts until now."""
        return self.sweep.spent + time.perf_counter() - self.started

    def _resume(self) -> str:
        """Where the time is used up, a session without more of it would end at once."""
        budget = self.spec.budget
        if budget.total is None or self._spent() < budget.total:
            return self.folder.resume()
        return self.folder.resume("--set", f"budget.{budget.unit}=MORE")
