"""A sweep that was never run: events as its driver would write them, and what MLflow has."""

import itertools
import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.tracking import MlflowClient

from raysel.mlflow_sync.client import MlflowStore
from raysel.mlflow_sync.exporter import MlflowExporter
from raysel.mlflow_sync.process import WriterProcess
from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url

LAYERS = ["stem", "layer1", "head"]
_numbers = itertools.count(1)


class WrittenSweep:
    """A sweep's record, its writer, and what MLflow has of it."""

    def __init__(self, folder, store_folder, uri=None):
        self.id = f"sweep-{next(_numbers)}"
        self.folder = folder / self.id
        self.folder.mkdir()
        self.store_folder = store_folder
        self.uri = uri or sqlite_url(store_folder / "mlflow.db")
        self.url = sqlite_url(self.folder / "sweep.db")
        self.log = self.folder / "writer.log"
        self.record = Record(self.url)
        self.clock = itertools.count(1_700_000_000)
        self.write(
            SWEEP,
            Kind.SWEEP,
            0,
            name=self.id,
            sweep_id=self.id,
            description="what it is for",
            spec="name: x\n",
            layers=LAYERS,
            layer_sizes=[1, 2, 3],
            manifest={"versions": {"raysel": "0.1"}, "git_sha": "abc", "command": "raysel run x"},
            folder=str(self.folder),
            objective={"metric": "val/error", "mode": "min"},
        )

    def write(self, trial, kind, epoch, **payload):
        assert self.record.append(Event(trial, kind, epoch, float(next(self.clock)), payload))

    def start(self, trial, phase="search", **config):
        config = {"strategy": "full", "parameters": {}, "training": {"epochs": 3}, "seed": 0}
        number = int("".join(c for c in trial if c.isdigit()))
        self.write(
            trial,
            Kind.STARTED,
            0,
            number=number,
            phase=phase,
            strategy="full",
            label="full lr=0.01",
            config=config,
            searched={},
        )

    def epoch(self, trial, number):
        metrics = {"val/error": 1 / number, "train/loss": 2 / number, "select/stem": None}
        self.write(trial, Kind.EPOCH, number, metrics=metrics)

    def end(self, trial, status="COMPLETE", **more):
        self.write(trial, Kind.ENDED, 3, status=status, cause=None, value=0.3, **more)

    def whole_trial(self, trial, status="COMPLETE"):
        self.start(trial)
        for number in (1, 2, 3):
            self.epoch(trial, number)
        self.end(trial, status)

    def trace(self, trial, epochs):
        folder = self.folder / "trials" / trial / "trace"
        folder.mkdir(parents=True)
        for epoch in range(1, epochs + 1):
            table = pa.table(
                {
                    "step": np.full(3, epoch, np.int32),
                    "epoch": np.full(3, epoch, np.int32),
                    "layer": pa.array(LAYERS).dictionary_encode(),
                    "weight": np.array([1, 0, 0], np.float32),
                    "score": np.full(3, np.nan, np.float32),
                }
            )
            pq.write_table(table, folder / f"epoch-{epoch:04d}.parquet")

    def connect(self, sweep):
        return MlflowStore(self.uri, self.id, str(self.store_folder / "art"), sweep)

    def export_events(self):
        """What a writer does until nothing is left, without its process."""
        exporter = MlflowExporter(self.record, self.connect)
        while exporter.export_events() or exporter.export_artifacts():
            pass

    def process(self, uri=None, notify=lambda _: None):
        art = self.store_folder / "art"
        return WriterProcess(self.url, uri or self.uri, self.id, art, self.log, notify)

    @property
    def client(self):
        return MlflowClient(self.uri)

    def runs(self):
        experiment = self.client.get_experiment_by_name(self.id)
        return self.client.search_runs([experiment.experiment_id]) if experiment else []

    def run(self, trial):
        (run,) = [r for r in self.runs() if r.data.tags.get("raysel.trial_id", SWEEP) == trial]
        return run

    def points(self, trial):
        """Every point that MLflow keeps, not only the latest of each metric."""
        run_id = self.run(trial).info.run_id
        if self.uri.startswith("http"):
            keys = self.client.get_run(run_id).data.metrics
            history = [m for key in keys for m in self.client.get_metric_history(run_id, key)]
            return sorted((m.key, m.step, m.value, m.timestamp) for m in history)
        with sqlite3.connect(self.store_folder / "mlflow.db") as connection:
            rows = connection.execute(
                "SELECT key, step, value, timestamp FROM metrics WHERE run_uuid = ?", [run_id]
            )
            return sorted(rows)

    def artifacts(self, trial, folder=None):
        listed = self.client.list_artifacts(self.run(trial).info.run_id, folder)
        return sorted(item.path for item in listed)
