"""MLflow against the record: every run once, with its state, its tags, every point once, and the
files that lie in the sweep's folder."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from mlflow.entities import FileInfo, Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from raysel.common.disk_errors import cannot
from raysel.common.errors import OperationalError
from raysel.common.locations import sqlite_file
from raysel.common.text import and_more
from raysel.mlflow_sync import trace_figure
from raysel.mlflow_sync.runs import (
    CARD,
    PARENT,
    Point,
    RunImage,
    measured,
    sweep_image,
    trial_image,
)
from raysel.mlflow_sync.store import (
    as_uri,
    check_store,
    client,
    is_moved,
    lost_store,
    runs_of,
)
from raysel.mlflow_sync.suite_run import find_suite_run, suite_of
from raysel.record.events import SWEEP, Event
from raysel.record.layout import make_folder
from raysel.record.state import ENDED, SweepState, TrialState, fold, fold_sweep, located


class Audit:
    """Comparison of MLflow's runs of one sweep with those that the record implies.

    Attributes:
        differences: in sentences.
        file_differences: of files, in sentences.
        files: repairs for these.
        surplus: ids of runs that must go: a second one of a trial, one with points that the
            record does not know.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        events: Sequence[Event],
        folder: Path | None = None,
        artifact_root: str = "",
    ) -> None:
        """Compare.

        Args:
            folder: where the sweep's files lie; None: they are not compared.
            artifact_root: where those in MLflow should.

        Raises:
            mlflow.exceptions.MlflowException: MLflow does not answer.
            UnusableStore: without a server: there is no database, or another MLflow's.
        """
        check_store(uri)
        self.differences: list[str] = []
        self.surplus: list[str] = []
        self.file_differences: list[str] = []
        sweep, trials = fold_sweep(events), fold(events)
        sweep = sweep if folder is None else located(sweep, folder)
        lost = lost_store(uri)  # a client would make it, also for who only looks
        self._opened = None if lost else client(uri)
        if lost:
            self._add_difference(f"{sqlite_file(uri)} {lost}: no run of any sweep is left in it")
        self.files = FileAudit(self._opened, folder or Path())
        images = {SWEEP: sweep_image(sweep)}
        images |= {name: trial_image(trial, sweep) for name, trial in trials.items()}
        wanted = measured(events, trials, sweep.metric)
        known = None if lost else self._client.get_experiment_by_name(experiment)
        runs = runs_of(self._client, known.experiment_id, sweep.id) if known else {}
        self.runs = {name: found[0] for name, found in runs.items()}
        self._suite_run = ""
        if (suite := suite_of(sweep)) is not None:
            above = find_suite_run(self._client, known.experiment_id, suite) if known else None
            self._suite_run = "" if above is None else above.info.run_id
            if above is None and not lost:
                self._add_difference(f"{suite.name}: MLflow does not have the suite's run")
        self._parent = next((run.info.run_id for run in runs.get(SWEEP, ())), "")
        for name, image in images.items():
            self._look_at(
                name or "the sweep's run", image, runs.pop(name, []), wanted.get(name, [])
            )
        if known and is_moved(uri, known.artifact_location, artifact_root):
            there = known.artifact_location
            folder = Path(artifact_root.removeprefix("file://"))
            has = "they are in" if folder.is_dir() else "they are not in"
            self._add_difference(f"MLflow looks for files in {there}, {has} {artifact_root}")
            self.files.moved = there, artifact_root
        if folder is not None:
            for name in images:
                owner = trials.get(name, sweep)
                self.file_differences += self.files.of(owner, self.runs.get(name))
        for name, unknown in runs.items():
            self._add_difference(f"{name}: unknown to the record", unknown)

    @property
    def _client(self) -> MlflowClient:
        assert self._opened is not None, "the store is lost: there is nothing to ask"
        return self._opened

    def restore_traces(self) -> None:
        """Write the parts of traces that MLflow alone has into the sweep's folder."""
        for trial in self.files.to_restore:
            self.files.restore(trial, self.runs[trial])

    def remove_surplus(self) -> None:
        """Delete the runs that must go; MLflow keeps deleted runs until `mlflow gc`."""
        for run_id in self.surplus:
            self._client.delete_run(run_id)

    def _look_at(
        self, name: str, image: RunImage, runs: Sequence[Run], wanted: Sequence[Point]
    ) -> None:
        if not runs:
            return self._add_difference(f"{name}: MLflow does not have it")
        if len(runs) > 1:
            self._add_difference(f"{name}: {len(runs)} runs in MLflow", runs[1:])
        run = runs[0]
        if run.info.status != image.status:
            self._add_difference(f"{name}: {run.info.status} in MLflow, should be {image.status}")
        above = self._suite_run if image.trial == SWEEP else self._parent
        tags = {**image.tags, **({PARENT: above} if above else {})}
        if wrong := _different(tags, run.data.tags):
            self._add_difference(f"{name}: MLflow's tag {wrong} is not the record's")
        if wrong := _different(image.params, run.data.params):
            # a missing parameter can be sent, an existing one cannot be changed
            surplus = [run] if wrong in run.data.params else []
            self._add_difference(f"{name}: MLflow's parameter {wrong} is not the record's", surplus)
        missing, unknown = self._points(run, wanted)
        if missing:
            self._add_difference(f"{name}: MLflow lacks {missing} points")
        if unknown:
            self._add_difference(
                f"{name}: MLflow has {unknown} points that the record does not know", [run]
            )
        return None

    def _points(self, run: Run, wanted: Sequence[Point]) -> tuple[int, int]:
        """Number of missing points, and of unknown or duplicate ones."""
        should = Counter((p.key, p.step, p.timestamp, p.value) for p in wanted)
        keys = {p.key for p in wanted} | set(run.data.metrics)
        has = Counter(
            (key, m.step, m.timestamp, m.value)
            for key in keys
            for m in self._client.get_metric_history(run.info.run_id, key)
        )
        return (should - has).total(), (has - should).total()

    def _add_difference(self, words: str, surplus: Iterable[Run] = ()) -> None:
        self.differences.append(words)
        self.surplus += [run.info.run_id for run in surplus]


def _different(wanted: Mapping[str, str], has: Mapping[str, str]) -> str | None:
    return next((name for name, value in wanted.items() if has.get(name, "") != value), None)


TRACE, HEATMAP = "selection/trace.parquet", "selection/heatmap.png"
SPEC, RESULTS, REPORT = "spec.yaml", "results.json", "report"


@dataclass
class FileAudit:
    """Compares files run by run.

    Attributes:
        client: MLflow's; None where its store is lost.
        folder: the sweep's, as it lies now.
        moved: where MLflow looks for its files, and where they are; None where it is the same.
        to_send: trials (or `SWEEP`) whose files are complete here, and not in MLflow.
        to_restore: epochs by trial whose part of the trace is in MLflow alone.
        lost: in sentences, files that neither has.
    """

    client: MlflowClient | None
    folder: Path
    moved: tuple[str, str] | None = None
    to_send: list[str] = field(default_factory=list)
    to_restore: dict[str, list[int]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @property
    def to_mend(self) -> list[str]:
        """Trials (or `SWEEP`) whose files are to be sent, once what is to be restored is."""
        return [*self.to_send, *self.to_restore]

    def of(self, owner: SweepState | TrialState, run: Run | None) -> Iterator[str]:
        """What differs of the sweep's own files, or of a trial's, in sentences.

        Args:
            run: MLflow's of it; None where MLflow has none, and so none of its files.
        """
        if isinstance(owner, TrialState):
            return self._of_trial(owner, run)
        return iter(()) if run is None else self._of_sweep(owner, run)

    def _of_sweep(self, sweep: SweepState, run: Run) -> Iterator[str]:
        wanted: dict[str, int | None] = {SPEC: None}
        if sweep.ended_at is not None:
            files = [
                self.folder / RESULTS,
                self.folder / CARD,
                *sorted((self.folder / REPORT).rglob("*")),
            ]
            wanted |= {
                path.relative_to(self.folder).as_posix(): path.stat().st_size
                for path in files
                if path.is_file() and not path.name.startswith(".")
            }
        has = self._sizes(run, "", "best", REPORT)
        missing = [name for name in wanted if name not in has]
        other = [n for n, size in wanted.items() if n in has and size not in (None, has[n])]
        if missing:
            yield f"the sweep's run: MLflow lacks {and_more(missing, 3)}"
        if other:
            yield f"the sweep's run: MLflow has another {and_more(other, 3)}"
        if missing or other:
            self.to_send.append(SWEEP)

    def _of_trial(self, trial: TrialState, run: Run | None) -> Iterator[str]:
        """Of its trace; of a trial that has not ended, nothing."""
        epochs = [int(row["epoch"] or 0) for row in trial.epochs]
        if trial.status not in ENDED or not epochs:
            return
        parts = self.folder / "trials" / trial.id / "trace"
        here = _trace(parts, epochs)
        if isinstance(here, pa.Table):
            if run is not None:
                yield from self._in_mlflow(trial.id, here, run)
            return
        for why in dict.fromkeys(here.values()):
            listed = [epoch for epoch in here if here[epoch] == why]
            yield f"{trial.id}: the trace of {_counted(listed)} {why} {parts}"
        self._look_for(trial.id, list(here), run)

    def _in_mlflow(self, trial: str, here: pa.Table, run: Run) -> Iterator[str]:
        """What MLflow's files of a trace lack that is whole here."""
        has = self._sizes(run, "selection")
        if missing := [name for name in (TRACE, HEATMAP) if name not in has]:
            yield f"{trial}: MLflow lacks {and_more(missing, 3)}"
        elif not _same(self._downloaded(run), here):
            yield f"{trial}: its trace is not the one that MLflow has"
        else:
            return
        self.to_send.append(trial)

    def restore(self, trial: str, run: Run) -> None:
        """Write the parts of a trace that MLflow alone has into the sweep's folder."""
        table = self._downloaded(run)
        assert table is not None, "it was looked at"
        trials = self.folder / "trials"
        parts = trials / trial / "trace"
        for folder in (trials, parts.parent, parts):
            make_folder(folder)
        for epoch in self.to_restore[trial]:
            rows = table.filter(pc.equal(table["epoch"], epoch))
            partial = parts / f".epoch-{epoch:04d}.parquet"
            pq.write_table(rows, partial)
            partial.replace(trace_figure.part(parts, epoch))

    def _look_for(self, trial: str, epochs: list[int], run: Run | None) -> None:
        known: set[int] = set()
        if run is not None and TRACE in self._sizes(run, "selection"):
            table = self._downloaded(run)
            known = set() if table is None else set(table["epoch"].to_pylist())
        if found := [epoch for epoch in epochs if epoch in known]:
            self.to_restore[trial] = found
        if left := [epoch for epoch in epochs if epoch not in known]:
            self.lost.append(f"{trial}: the trace of {_counted(left)} is nowhere any more")

    def _downloaded(self, run: Run) -> pa.Table | None:
        """MLflow's trace of a trial; None where it is damaged."""
        with tempfile.TemporaryDirectory(prefix="raysel-") as scratch:
            repository = self._moved_files(run)
            if repository is not None:
                file = repository.download_artifacts(TRACE, scratch)
            else:
                assert self.client is not None, "a run was found in it"
                file = self.client.download_artifacts(run.info.run_id, TRACE, scratch)
            try:
                return pq.read_table(file)
            except Exception:  # pyarrow raises whatever a flipped bit leads to
                return None

    def _sizes(self, run: Run, *folders: str) -> dict[str, int]:
        """Bytes by name of a run's files in some folders."""
        listed = [info for folder in folders for info in self._listed(run, folder)]
        inner = [i.path for i in listed if i.is_dir and i.path not in folders]
        found = {info.path: int(info.file_size or 0) for info in listed if not info.is_dir}
        below = [path for path in inner if path.startswith(f"{REPORT}/")]
        return found | (self._sizes(run, *below) if below else {})

    def _listed(self, run: Run, folder: str) -> list[FileInfo]:
        if (repository := self._moved_files(run)) is not None:
            return list(repository.list_artifacts(folder or None))
        assert self.client is not None, "a run was found in it"
        return list(self.client.list_artifacts(run.info.run_id, folder or None))

    def _moved_files(self, run: Run) -> ArtifactRepository | None:
        """A run's files where they are, if MLflow would look for them elsewhere."""
        if self.moved is None:
            return None
        old, root = self.moved
        place = run.info.artifact_uri.removeprefix(old.rstrip("/"))
        return get_artifact_repository(f"{as_uri(root)}{place}")


def _trace(parts: Path, epochs: Sequence[int]) -> pa.Table | dict[int, str]:
    """The trace in a folder; where it cannot be read, by epoch why not, as words before the
    folder's name."""
    with suppress(Exception):  # pyarrow raises whatever a flipped bit leads to
        if all(trace_figure.part(parts, epoch).is_file() for epoch in epochs):
            return trace_figure.read(parts)
    found = {epoch: why for epoch in epochs if (why := _unreadable(parts, epoch))}
    # each can be read, and not all together
    return found or dict.fromkeys(epochs, "cannot be read in")


def _unreadable(parts: Path, epoch: int) -> str | None:
    file = trace_figure.part(parts, epoch)
    try:
        pq.read_table(file)
    except FileNotFoundError:
        return "is not in"
    except PermissionError as error:
        raise OperationalError(str(file), cannot("be read", error, file)) from None
    except Exception:  # whatever a flipped bit leads to
        return "cannot be read in"
    return None


def _same(there: pa.Table | None, here: pa.Table) -> bool:
    # as data frames: a score that is not a number equals itself there
    return there is not None and bool(there.to_pandas().equals(here.to_pandas()))


def _counted(epochs: list[int]) -> str:
    return f"epoch {epochs[0]}" if len(epochs) == 1 else f"{len(epochs)} epochs"
