"""Progress of a sweep on the terminal: a table that is rewritten in place.

In a pipe or a log file it becomes a line an ended trial; with `--json` every event is a
JSON object on a line of its own; with `--quiet` nothing is shown but the outcome.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from raysel.cli.render_outcome import outcome_lines, suite_lines
from raysel.cli.suite_progress import CellReporter, SuiteProgress
from raysel.common.output import guarded_streams, print_json
from raysel.common.rich_output import TextConsole, plain
from raysel.common.text import clock, count_of
from raysel.record.events import Event, Kind
from raysel.record.state import COMPLETE, FAILED, PRUNED, RUNNING, TrialState, fold
from raysel.service.progress import Progress
from raysel.spec.sweep import Spec, objective_in_words
from raysel.sweep.outcome import Outcome
from raysel.sweep.ranking import best_epoch, best_trial, leaders
from raysel.sweep.start_suite import SuiteOutcome
from raysel.tasks.data_summary import DataSummary
from raysel.training.source_model import LINE_SECONDS, SourceModel, TrainingClock

_TESTED_ONCE = "test set read once a run"
_TESTED_EACH = "test set measured after every epoch"

HEARTBEAT_SECONDS = 10.0
"""Seconds between two progress lines without a terminal."""


class ConsoleReporter:
    """Shows a sweep on a terminal, or as lines where there is none.

    Args:
        quiet: show the outcome only, and what the user may have to act on.
    """

    def __init__(self, console: TextConsole, quiet: bool = False) -> None:
        self._always = console
        self._console = TextConsole(quiet=True, force_terminal=False) if quiet else console
        self._live: Live | None = None
        self._trials: dict[str, TrialState] = {}  # of the phase
        self._phase, self._total, self._done, self._done_before = "", 0, 0, 0
        self._began = self._beat = 0.0
        self._objective, self._tested = "val/error", _TESTED_ONCE
        self._chosen = ""
        self._source_clock: TrainingClock | None = None
        self._suite: SuiteProgress | None = None

    def suite(self, name: str, cells: int, complete: int) -> None:
        """One line before the first cell."""
        done = f", {complete} of them complete" if complete else ""
        self._console.print(plain(name, "bold") + plain(f" · {count_of(cells, 'cell')}{done}"))
        self._suite = SuiteProgress(self._console, self._always, self._show, cells, complete)

    def cell(self, name: str) -> CellReporter:
        """A cell of the suite begins."""
        assert self._suite is not None
        return CellReporter(self._suite, name)

    def cell_ended(self, name: str, words: str) -> None:
        """A cell's outcome in a line."""
        assert self._suite is not None
        self._suite.end(name, words)

    def began(self, spec: Spec, trials: int, strategies: int, concurrent: int) -> None:
        """One line before anything happens."""
        self._close()
        self._objective, self._chosen = spec.objective.metric, spec.confirm.chosen_in_words
        self._tested = _TESTED_EACH if spec.confirm.test_every_epoch else _TESTED_ONCE
        counts = f" · {trials} trials · {strategies} strategies · {concurrent} at a time"
        self._console.print(plain(spec.name, "bold") + plain(counts))

    def data(self, summary: DataSummary) -> None:
        """What was read."""
        self._close()
        self._console.print(*summary.text(), "", sep="\n")

    def source_training(self, done: int, total: int) -> None:
        """Progress of training the source model: in place on a terminal, else a line now
        and then."""
        every = 0.0 if self._console.is_terminal else LINE_SECONDS
        self._source_clock = self._source_clock or TrainingClock(every)
        if (line := self._source_clock.line(done, total)) is None:
            return
        if self._console.is_terminal:
            self._show(plain(f"source   {line}"))
        else:
            self._console.print(f"source   {line}")

    def decoding(self, done: int, total: int) -> None:
        """Progress of decoding a part's pictures."""
        if done % 16 == 0 or done == total:
            self._show(plain(f"data     {done:,} of {total:,} pictures decoded"))

    def note(self, text: str) -> None:
        """A line about the data."""
        self._close()
        self._console.print(f"note     {text}")

    def source(self, model: SourceModel, spec: Spec, examples: int) -> None:
        """The source model, in a line."""
        self._close()
        how = f"{model.seconds:.0f} s" if model.seconds else "kept from before"
        self._console.print(
            f"source   {spec.model_name} on {examples} clean {spec.task.name}: "
            f"{100 * model.accuracy:.1f} % validation accuracy ({how})"
        )

    def phase(self, name: str, total: int, ended: Sequence[TrialState]) -> None:
        """Begin a phase's table, with the trials that ended in an earlier attempt."""
        self._close()
        self._phase, self._total = name, total
        self._done = self._done_before = len(ended)
        self._trials, self._began = {trial.id: trial for trial in ended}, time.monotonic()
        if name == "confirm":
            self._console.print(
                "",
                f"confirm  {self._chosen} by {objective_in_words(self._objective)}, "
                f"{total} runs, {self._tested}",
                sep="\n",
            )
        self._refresh()
        self._heartbeat()

    def event(self, event: Event) -> None:
        """Update the table with an event."""
        if not event.trial:
            return
        if event.kind == Kind.RESUMED and event.trial not in self._trials:
            event = replace(event, kind=Kind.STARTED)  # by an earlier attempt
        known = {name: self._trials[name] for name in (event.trial,) if name in self._trials}
        self._trials |= fold([event], known)
        if event.kind == Kind.EPOCH and (note := event.payload.get("note")):
            self._console.print(f"{event.trial}  {note}")
        elif event.kind == Kind.ENDED:
            self._ended(self._trials[event.trial])
        self._refresh()
        late = time.monotonic() - self._beat > HEARTBEAT_SECONDS
        if late or (event.kind == Kind.ENDED and self._done == self._total):
            self._heartbeat()

    def _heartbeat(self) -> None:
        """One line, which `raysel status` reads in the log of a job."""
        if self._console.is_terminal:
            return
        self._beat = time.monotonic()
        best = best_trial(self._so_far(), self._objective)
        progress = Progress(
            phase=self._phase,
            done=self._done,
            total=self._total,
            running=self._running(),
            elapsed=clock(time.monotonic() - self._began),
            metric=self._objective,
            best=None if best is None else best.value,
            label="" if best is None else best.label,
        )
        self._console.print(progress.line())

    def _so_far(self) -> list[TrialState]:
        """The trials of the phase, those without a value of their own with their best so far."""
        return [self._with_value(trial) for trial in self._trials.values()]

    def _with_value(self, trial: TrialState) -> TrialState:
        values = {i: row.get(self._objective) for i, row in enumerate(trial.epochs)}
        known = {index: value for index, value in values.items() if value is not None}
        if trial.value is not None or not known:
            return trial
        return replace(trial, value=known[best_epoch(known)])

    def _running(self) -> int:
        return sum(trial.status == RUNNING for trial in self._trials.values())

    def _ended(self, trial: TrialState) -> None:
        self._done += 1
        if not self._console.is_terminal or trial.status == FAILED:
            value = "" if trial.value is None else f" {self._objective} {trial.value:.3f}"
            cause = f": {trial.cause}" if trial.status == FAILED else ""
            line = f"{trial.id} {trial.label} {trial.status.lower()}{value}{cause}"
            self._console.print(
                f"{self._done:>3}/{self._total} {line}", markup=False, highlight=False
            )

    def stopping(self, cause: str) -> None:
        """The sweep is to end in order."""
        running = self._running()
        who = f"{running} trials end their" if running != 1 else "1 trial ends its"
        first = f"; {who} epoch" if running else ""
        what = f"{first}, then the summary (Ctrl-C again to leave at once)"
        self._always.print(f"stopping: {cause}{what}")

    def tracker(self, words: str) -> None:
        """MLflow is away, or back."""
        self._always.print(f"mlflow   {words}")

    def storage(self, words: str) -> None:
        """The bucket is away, or back."""
        self._always.print(f"storage  {words}")

    def _show(self, content: RenderableType) -> None:
        if not self._console.is_terminal:
            return
        if self._live is None:
            self._live = Live(console=self._console, transient=True, refresh_per_second=4)
            self._live.start()
        self._live.update(content)

    def _refresh(self) -> None:
        self._show(_Renderer(self))

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def table(self) -> RenderableType:
        """The live table as it is now."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
        table.add_column("strategy")
        for name in ("done", "pruned", "failed", "running", "best " + self._objective):
            table.add_column(name, justify="right")
        table.add_column("with")
        best = leaders(self._so_far(), self._objective)
        for strategy in dict.fromkeys(trial.strategy for trial in self._trials.values()):
            states = [t.status for t in self._trials.values() if t.strategy == strategy]
            leader = best.get(strategy)
            label = "" if leader is None else leader.label.removeprefix(strategy).strip()
            table.add_row(
                strategy,
                *(str(states.count(state)) for state in (COMPLETE, PRUNED, FAILED, RUNNING)),
                "" if leader is None or leader.value is None else f"{leader.value:.3f}",
                plain(label, overflow="ellipsis"),
            )
        return Group(table, self._bar())

    def _bar(self) -> RenderableType:
        elapsed = time.monotonic() - self._began
        ended = self._done - self._done_before
        left = elapsed / ended * (self._total - self._done) if ended else None
        line = Table.grid(padding=(0, 2))
        line.add_row(
            "  ",
            ProgressBar(total=max(self._total, 1), completed=self._done, width=40),
            f"{self._done}/{self._total}",
            clock(elapsed),
            "" if left is None else f"{clock(left)} left",
        )
        return line

    def outcome(self, outcome: Outcome) -> None:
        """The confirm table, the verdict, and where everything lies."""
        self._close()
        self._always.print(outcome_lines(self._always, outcome))

    def suite_outcome(self, outcome: SuiteOutcome) -> None:
        """How the suite ended, and where everything lies."""
        self._close()
        self._always.print(suite_lines(outcome))

    def finish(self) -> None:
        """Leave the terminal as it was."""
        self._close()


class _Renderer:
    """Renders the table anew at each refresh, so that the clock runs."""

    def __init__(self, reporter: ConsoleReporter) -> None:
        self._reporter = reporter

    def __rich_console__(self, *_: Any) -> Iterator[RenderableType]:
        yield self._reporter.table()


class JsonReporter:
    """Every event as a JSON object on a line of its own, for scripts."""

    def __init__(self, cell: str = "") -> None:
        self._source_clock = TrainingClock(LINE_SECONDS)
        self._cell = {"cell": cell} if cell else {}

    def _line(self, **content: Any) -> None:
        print_json(self._cell | content, indent=None)

    def suite(self, name: str, cells: int, complete: int) -> None:
        """The suite begins."""
        self._line(kind="suite", name=name, cells=cells, complete=complete)

    def cell(self, name: str) -> JsonReporter:
        """A cell begins; its lines have its name."""
        return JsonReporter(name)

    def cell_ended(self, name: str, words: str) -> None:
        """A cell has ended."""
        self._line(kind="cell", name=name, outcome=words)

    def suite_outcome(self, outcome: SuiteOutcome) -> None:
        """How the suite ended."""
        self._line(
            kind="suite_outcome",
            cells=outcome.cells,
            complete=outcome.complete,
            failed=outcome.failed,
            cause=outcome.cause,
            report=outcome.report and str(outcome.report),
        )

    def data(self, summary: DataSummary) -> None:
        """What was read; `results.json` has it with what decoding has shown."""
        self._line(kind="data", **summary.to_dict())

    def source_training(self, done: int, total: int) -> None:
        """Progress of training the source model, now and then."""
        if self._source_clock.line(done, total) is not None:
            self._line(kind="source_training", done=done, total=total)

    def began(self, spec: Spec, trials: int, strategies: int, concurrent: int) -> None:
        """The sweep begins."""
        self._line(kind="began", name=spec.name, trials=trials, concurrent=concurrent)

    def decoding(self, done: int, total: int) -> None:
        """A part's pictures are decoded; one line a part, not one a picture."""
        if done == total:
            self._line(kind="decoded", pictures=total)

    def note(self, text: str) -> None:
        """A note about the data."""
        self._line(kind="note", text=text)

    def source(self, model: SourceModel, spec: Spec, examples: int) -> None:
        """The source model is there."""
        self._line(kind="source", accuracy=model.accuracy, seconds=model.seconds)

    def phase(self, name: str, total: int, ended: Sequence[TrialState]) -> None:
        """A phase begins."""
        self._line(kind="phase", name=name, total=total, done=len(ended))

    def event(self, event: Event) -> None:
        """An event was committed."""
        payload = {} if event.kind == Kind.SWEEP else dict(event.payload)
        self._line(trial=event.trial, kind=event.kind, epoch=event.epoch, at=event.at, **payload)

    def stopping(self, cause: str) -> None:
        """The sweep is to end in order."""
        self._line(kind="stopping", cause=cause)

    def tracker(self, words: str) -> None:
        """MLflow is away, or back."""
        self._line(kind="tracker", message=words)

    def storage(self, words: str) -> None:
        """The bucket is away, or back."""
        self._line(kind="storage", message=words)

    def outcome(self, outcome: Outcome) -> None:
        """The verdict, and where everything lies."""
        self._line(
            kind="outcome",
            complete=outcome.complete,
            verdict=outcome.results.verdict.model_dump(),
            results=str(outcome.folder.results),
            report=outcome.report and str(outcome.report),
            model=outcome.model and str(outcome.model),
            changed=outcome.changed,
        )

    def finish(self) -> None:
        """Nothing."""


@contextmanager
def shown(quiet: bool, as_json: bool) -> Iterator[ConsoleReporter | JsonReporter]:
    """The progress reporter that the user asked for; the terminal is restored afterwards."""
    with guarded_streams():
        console = TextConsole(soft_wrap=True)
        reporter = JsonReporter() if as_json else ConsoleReporter(console, quiet)
        try:
            yield reporter
        finally:
            reporter.finish()
