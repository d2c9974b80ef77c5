"""What is carried to MLflow where a file of the sweep is damaged, or its folder was moved."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysel.mlflow_sync import exporter as couriers
from raysel.mlflow_sync import trace_figure
from raysel.mlflow_sync.client import MlflowStore
from raysel.mlflow_sync.exporter import MlflowExporter
from raysel.mlflow_sync.runs import RunImage
from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url


class Store:
    """MLflow, which takes everything."""

    def __init__(self) -> None:
        self.uploaded: dict[str, set[str]] = {}
        self.tags: dict[str, Mapping[str, str]] = {}

    def has(self, trial: str) -> bool:
        return True

    def show(self, image: RunImage, points: object) -> None:
        self.tags[image.trial] = image.tags

    def upload(self, trial: str, path: Path, to: str) -> None:
        self.uploaded[trial] = {file.name for file in path.iterdir()}

    def upload_text(self, trial: str, text: str, name: str) -> None:
        pass


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One epoch of a trace."""
    table = pa.table(
        {
            "step": np.repeat(np.arange(20, dtype=np.int32), 2),
            "epoch": np.full(40, 1, dtype=np.int32),
            "layer": pa.array(["stem", "head"] * 20).dictionary_encode(),
            "weight": np.ones(40, dtype=np.float32),
        }
    )
    path = tmp_path_factory.mktemp("part") / "part.parquet"
    pq.write_table(table, path)
    return path.read_bytes()


def flipped(part: bytes, at: int) -> bytes:
    """The part with one bit changed."""
    return part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]


def sent(folder: Path, parts: list[bytes]) -> dict[str, set[str]]:
    """What MLflow is sent of trials with one part each."""
    record = Record(sqlite_url(folder / "sweep.db"))
    payload = {"name": "a", "folder": str(folder), "layers": ["stem", "head"]}
    record.append(Event(SWEEP, Kind.SWEEP, 0, 0.0, payload))
    for number, part in enumerate(parts):
        trace = folder / f"trials/{number:04d}/trace"
        trace.mkdir(parents=True)
        (trace / "epoch-0001.parquet").write_bytes(part)
        record.append(Event(f"{number:04d}", Kind.STARTED, 0, 0.0, {"number": number}))
        record.append(Event(f"{number:04d}", Kind.ENDED, 1, 1.0, {"status": "COMPLETE"}))
    store = Store()
    exporter = MlflowExporter(record, lambda _: cast(MlflowStore, cast(Any, store)))
    while exporter.export_events() or exporter.export_artifacts():
        pass
    record.close()
    return store.uploaded


def test_a_flipped_bit_keeps_back_no_other_trials_files(tmp_path: Path, part: bytes) -> None:
    first_page, last_name = 4, part.rindex(b"step")
    places = [first_page, last_name, len(part) // 2]
    found = sent(tmp_path, [*(flipped(part, place) for place in places), part])
    assert found[f"{len(places):04d}"] == {"trace.parquet", "heatmap.png"}
    assert "0000" not in found


def test_a_full_disk_of_this_machine_is_waited_for(
    tmp_path: Path, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trace_figure, "draw", full)
    with pytest.raises(OSError, match="No space left"):
        sent(tmp_path, [part])


@pytest.mark.parametrize("batch", [1, 500])
def test_a_model_in_a_moved_folder_is_named_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(couriers, "BATCH", batch)  # the end comes in another batch
    record = Record(sqlite_url(tmp_path / "sweep.db"))
    record.append(Event(SWEEP, Kind.SWEEP, 0, 0.0, {"name": "a", "folder": "/before/a"}))
    end = {"status": "COMPLETE", "model": "/before/a/best"}
    record.append(Event(SWEEP, Kind.FINISHED, 0, 1.0, end))
    store = Store()
    exporter = MlflowExporter(record, lambda _: cast(MlflowStore, cast(Any, store)), tmp_path)
    while exporter.export_events():
        pass
    record.close()
    assert store.tags[SWEEP]["raysel.model"] == str(tmp_path / "best")
