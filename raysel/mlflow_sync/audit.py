"""MLflow against the record: every run once, with its state, its tags and every point once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import DBAPIError

from raysel.common.errors import OperationalError
from raysel.common.locations import sqlite_file
from raysel.mlflow_sync.artifact_root import is_moved
from raysel.mlflow_sync.connection import client, runs_of
from raysel.mlflow_sync.error_messages import explain
from raysel.mlflow_sync.file_audit import FileAudit
from raysel.mlflow_sync.runs import (
    PARENT,
    Point,
    RunImage,
    points,
    sweep_image,
    trial_image,
)
from raysel.mlflow_sync.store_schema import UnusableStore, check_store, lost_store
from raysel.record.events import SWEEP, Event
from raysel.record.state import SweepState, TrialState, fold, fold_sweep, located


@contextmanager
def mlflow_errors(uri: str, experiment: str) -> Iterator[None]:
    """Translate failures of MLflow into one-line errors.

    Raises:
        OperationalError: in the place of what its client raises.
    """
    try:
        yield
    except (MlflowException, UnusableStore, OSError, DBAPIError, ImportError) as error:
        reason = explain(error, uri, experiment)
        raise OperationalError(uri, reason.words.removeprefix(f"{uri} ")) from error


class Audit:
    """Comparison of MLflow's runs of one sweep with those that the record implies.

    Attributes:
        differences: in sentences.
        file_differences: of files, in sentences.
        files: repairs for these; None if files were not compared.
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
        self.files = None if folder is None or lost else FileAudit(self._client, folder)
        images = {SWEEP: sweep_image(sweep)}
        images |= {name: trial_image(trial, sweep) for name, trial in trials.items()}
        measured: dict[str, list[Point]] = {name: [] for name in images}
        for event in events:
            if event.trial != SWEEP:
                measured[event.trial] += points(event)
        known = None if lost else self._client.get_experiment_by_name(experiment)
        runs = runs_of(self._client, known.experiment_id, sweep.id) if known else {}
        self.runs = {name: found[0] for name, found in runs.items()}
        self._parent = next((run.info.run_id for run in runs.get(SWEEP, ())), "")
        for name, image in images.items():
            self._look_at(name or "the sweep's run", image, runs.pop(name, []), measured[name])
        if self.files is not None and not self._are_moved(uri, experiment, artifact_root):
            for name in (name for name in images if name in self.runs):
                self._look_at_files(name, sweep, trials)
        for name, unknown in runs.items():
            self._add_difference(f"{name}: unknown to the record", unknown)

    @property
    def _client(self) -> MlflowClient:
        assert self._opened is not None, "the store is lost: there is nothing to ask"
        return self._opened

    def remove_surplus(self) -> None:
        """Delete the runs that must go; MLflow keeps deleted runs until `mlflow gc`."""
        for run_id in self.surplus:
            self._client.delete_run(run_id)

    def _are_moved(self, uri: str, experiment: str, root: str) -> bool:
        found = self._client.get_experiment_by_name(experiment)
        moved = found is not None and is_moved(uri, found.artifact_location, root)
        if moved and found is not None:
            self._add_difference(
                f"MLflow looks for files in {found.artifact_location}, they are in {root}"
            )
        return moved

    def _look_at_files(
        self, name: str, sweep: SweepState, trials: Mapping[str, TrialState]
    ) -> None:
        assert self.files is not None
        run = self.runs[name]
        self.file_differences += (
            self.files.of_sweep(sweep, run)
            if name == SWEEP
            else self.files.of_trial(trials[name], run)
        )

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
        tags = image.tags if image.trial == SWEEP else {**image.tags, PARENT: self._parent}
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
