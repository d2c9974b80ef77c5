"""`raysel reconcile` compares files too: what MLflow or the folder lost comes back from the other,
and a storage that was moved has its files where it is now. No Ray, no training: a record and traces
as a sweep would leave them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from few_kit import few
from mlflow import MlflowClient

from raysel.cli.main import main
from raysel.common.locations import mlflow_uri, sqlite_url
from raysel.record.event_log import EventLog
from raysel.record.events import SWEEP, Kind, Record
from raysel.record.layout import SweepFolder, write_json, write_whole
from raysel.search.space import Space
from raysel.spec.reader import parse

NAME = "files"
LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
FILE = """
name: files
task: {data: digits, source: 300, shift: {kind: gaussian_noise, severity: 3}}
model: {name: test_resnet}
strategies: {full: , linear_probe: }
training: {epochs: 2, learning_rate: {float: [1e-3, 1e-1], log: true}}
search: {num_trials: 2, seed: 1}
"""


class Swept:
    """A finished sweep of two trials, which MLflow has."""

    def __init__(self, storage: Path) -> None:
        self.storage, self.folder = storage, SweepFolder(storage / NAME)
        spec = parse(FILE, [f"storage={storage}"])
        write_whole(self.folder.spec, spec.to_yaml())
        write_whole(self.folder.path / "report" / "index.html", "<p>a report</p>")
        write_json(self.folder.results, {"sweep_id": "files-1"})
        write_json(self.folder.split, {"seed": 0, "data": "digits", "parts": {}})
        record = Record(sqlite_url(self.folder.record))
        event_log = EventLog(record, 1)
        payload = {"name": NAME, "sweep_id": "files-1", "spec": spec.to_yaml()}
        objective = spec.objective.model_dump()
        where = {"folder": str(self.folder.path), "layers": LAYERS, "objective": objective}
        event_log.write(SWEEP, Kind.SWEEP, 0, payload | where)
        space = Space(spec, LAYERS)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for parameters in space.first_trials()[:2]:
            study.enqueue_trial(parameters)
        for number in range(2):
            trial = study.ask()
            config, name = space.suggest(trial), f"{number:04d}"
            event_log.started(name, number, "search", config, {}, trial.params)
            for epoch in (1, 2):
                self.part(name, epoch)
                event_log.epoch(name, epoch, {spec.objective.metric: 0.5}, None)
            event_log.write(
                name, Kind.ENDED, 2, {"status": "COMPLETE", "cause": None, "value": 0.5}
            )
        best = {"verdict": "none", "model": str(self.folder.best)}
        event_log.write(SWEEP, Kind.FINISHED, 1, {"status": "COMPLETE", "cause": None, **best})
        record.close()

    def part(self, trial: str, epoch: int, weight: float = 1.0) -> Path:
        """Write one epoch of a trace."""
        file = self.folder.trial(trial) / "trace" / f"epoch-{epoch:04d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        count = len(LAYERS)
        columns = {
            "step": np.full(count, epoch, np.int32),
            "epoch": np.full(count, epoch, np.int32),
            "layer": pa.array(LAYERS).dictionary_encode(),
            "weight": np.full(count, weight, np.float32),
            "score": np.ones(count, np.float32),
        }
        pq.write_table(pa.table(columns), file)
        return file

    def in_mlflow(self, name: str, trial: str = "0000") -> Path:
        """A trial's file in MLflow, by the address that MLflow gives."""
        client = MlflowClient(mlflow_uri(self.storage / "mlflow.db"))
        experiment = client.get_experiment_by_name(NAME)
        assert experiment is not None
        for run in client.search_runs([experiment.experiment_id]):
            if run.data.tags.get("raysel.trial_id", "") == trial:
                return Path(run.info.artifact_uri.removeprefix("file://")) / name
        raise AssertionError(trial)

    def reconcile(self, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["reconcile", NAME, "--storage", str(self.storage), *options])
        return code, capsys.readouterr().out


@pytest.fixture
def swept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Swept]:
    made = Swept(tmp_path / "runs")
    code, out = made.reconcile(capsys)
    assert code == 0, out
    yield made
    code, out = made.reconcile(capsys)
    assert "agree" in out or "nowhere" in out, out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trial", "name"),
    [
        ("0000", "selection/trace.parquet"),
        ("0001", "selection/heatmap.png"),
        ("", "spec.yaml"),
        ("", "results.json"),
        ("", "report/index.html"),
    ],
)
def test_what_mlflow_lost_is_sent_again(
    swept: Swept, capsys: pytest.CaptureFixture[str], trial: str, name: str
) -> None:
    file = swept.in_mlflow(name, trial)
    content = file.read_bytes()
    file.unlink()
    code, out = swept.reconcile(capsys, "--dry-run")
    assert code == 1
    assert f"MLflow lacks {name}" in out
    assert not file.exists()
    code, out = swept.reconcile(capsys)
    assert code == 0, out
    assert len(file.read_bytes()) == len(content)


@pytest.mark.slow
def test_a_trace_that_the_folder_lost_comes_back_from_mlflow(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    part = swept.folder.trial("0001") / "trace" / "epoch-0002.parquet"
    before = pq.read_table(part).to_pydict()
    part.unlink()
    code, out = swept.reconcile(capsys)
    assert code == 0, out
    assert "0001: the trace of epoch 2 is not in" in out
    assert pq.read_table(part).to_pydict() == before


@pytest.mark.slow
def test_a_trace_that_is_nowhere_is_reported_and_left(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    (swept.folder.trial("0001") / "trace" / "epoch-0002.parquet").unlink()
    swept.in_mlflow("selection/trace.parquet", "0001").unlink()
    code, out = swept.reconcile(capsys)
    assert code == 1
    assert "left    0001: the trace of epoch 2 is nowhere any more" in out


def without_its_folder(swept: Swept) -> None:
    shutil.rmtree(swept.folder.trial("0001"))
    swept.in_mlflow("selection/trace.parquet", "0001").unlink()


def without_its_folder_and_run(swept: Swept) -> None:
    run = swept.in_mlflow("selection", "0001").parent.parent.name
    MlflowClient(mlflow_uri(swept.storage / "mlflow.db")).delete_run(run)
    shutil.rmtree(swept.folder.trial("0001"))


def damaged_in_both(swept: Swept) -> None:
    for file in (
        swept.folder.trial("0001") / "trace" / "epoch-0002.parquet",
        swept.in_mlflow("selection/trace.parquet", "0001"),
    ):
        file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize(
    "lose", few(without_its_folder, without_its_folder_and_run, damaged_in_both)
)
def test_a_dry_run_says_what_reconcile_says_and_writes_nothing(
    swept: Swept, capsys: pytest.CaptureFixture[str], lose: Callable[[Swept], None]
) -> None:
    lose(swept)
    before = written(swept.storage)
    code, out = swept.reconcile(capsys, "--dry-run")
    assert code == 1
    assert written(swept.storage) == before
    assert "left    0001: the trace of" in out
    assert "nowhere any more" in out
    code, mended = swept.reconcile(capsys)
    assert code == 1
    assert sorted(out.splitlines()) == sorted(mended.splitlines())


def written(storage: Path) -> dict[Path, bytes]:
    """Every file but those that a reader of SQLite makes."""
    files = (path for path in storage.rglob("*") if path.is_file())
    return {p: p.read_bytes() for p in files if not p.name.endswith(("-wal", "-shm"))}


def test_a_damaged_trace_comes_back_from_mlflow(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    part = swept.folder.trial("0001") / "trace" / "epoch-0002.parquet"
    before = pq.read_table(part).to_pydict()
    part.write_bytes(part.read_bytes()[:100])
    assert swept.reconcile(capsys, "--dry-run")[0] == 1
    code, out = swept.reconcile(capsys)
    assert code == 0, out
    assert "0001: the trace of epoch 2 cannot be read in" in out
    assert pq.read_table(part).to_pydict() == before


@pytest.mark.slow
def test_a_trace_that_was_changed_is_sent_again(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    swept.part("0001", 2, weight=0.25)
    code, out = swept.reconcile(capsys)
    assert code == 0, out
    assert "0001: its trace is not the one that MLflow has" in out
    weights = pq.read_table(swept.in_mlflow("selection/trace.parquet", "0001"))["weight"]
    assert 0.25 in weights.to_pylist()


@pytest.mark.slow
def test_a_storage_that_was_moved_has_its_files_where_it_is_now(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = swept.storage, swept.storage.with_name("moved ü")
    old.rename(new)
    swept.storage, swept.folder = new, SweepFolder(new / NAME)
    part = swept.folder.trial("0001") / "trace" / "epoch-0002.parquet"
    part.unlink()
    code, out = swept.reconcile(capsys, "--dry-run")
    assert code == 1
    assert "MLflow looks for files in" in out
    code, out = swept.reconcile(capsys)
    assert code == 0, out
    assert part.is_file()  # MLflow has it, where its files are now
    assert not old.exists()
    client = MlflowClient(mlflow_uri(new / "mlflow.db"))
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    assert experiment.artifact_location == (new / "mlartifacts").as_uri()
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.artifact_uri.startswith(experiment.artifact_location)
        assert [*client.list_artifacts(run.info.run_id)]
        assert str(old) + "/" not in json.dumps(run.data.tags)
