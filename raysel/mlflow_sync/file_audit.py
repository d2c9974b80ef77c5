"""The files of a sweep in MLflow against those in its folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from raysel.mlflow_sync import trace_figure
from raysel.record.events import SWEEP
from raysel.record.state import ENDED, SweepState, TrialState

TRACE, HEATMAP = "selection/trace.parquet", "selection/heatmap.png"
SPEC, RESULTS, REPORT = "spec.yaml", "results.json", "report"


@dataclass
class FileAudit:
    """Compares files run by run.

    Attributes:
        client: MLflow's.
        folder: the sweep's, as it lies now.
        to_send: trials (or `SWEEP`) whose files are complete here, and not in MLflow.
        to_restore: epochs by trial whose part of the trace is in MLflow alone.
        lost: in sentences, files that neither has.
    """

    client: MlflowClient
    folder: Path
    to_send: list[str] = field(default_factory=list)
    to_restore: dict[str, list[int]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def of_sweep(self, sweep: SweepState, run: Run) -> Iterator[str]:
        """What differs of the sweep's own files, in sentences."""
        wanted: dict[str, int | None] = {SPEC: None}
        if sweep.ended_at is not None:
            files = [self.folder / RESULTS, *sorted((self.folder / REPORT).rglob("*"))]
            wanted |= {
                path.relative_to(self.folder).as_posix(): path.stat().st_size
                for path in files
                if path.is_file() and not path.name.startswith(".")
            }
        has = self._sizes(run, "", REPORT)
        missing = [name for name in wanted if name not in has]
        other = [n for n, size in wanted.items() if n in has and size not in (None, has[n])]
        if missing:
            yield f"the sweep's run: MLflow lacks {_named(missing)}"
        if other:
            yield f"the sweep's run: MLflow has another {_named(other)}"
        if missing or other:
            self.to_send.append(SWEEP)

    def of_trial(self, trial: TrialState, run: Run) -> Iterator[str]:
        """What differs of a trial's trace, in sentences; of one that has not ended, nothing."""
        epochs = [int(row["epoch"] or 0) for row in trial.epochs]
        if trial.status not in ENDED or not epochs:
            return
        parts = self.folder / "trials" / trial.id / "trace"
        has = self._sizes(run, "selection")
        missing = [epoch for epoch in epochs if not trace_figure.part(parts, epoch).is_file()]
        if missing:
            yield f"{trial.id}: the trace of {_counted(missing)} is not in {parts}"
            self._look_for(trial.id, missing, run, TRACE in has)
            return
        lost = [name for name in (TRACE, HEATMAP) if name not in has]
        if lost:
            yield f"{trial.id}: MLflow lacks {_named(lost)}"
        elif not self._same(trial.id, parts, run):
            yield f"{trial.id}: its trace is not the one that MLflow has"
        else:
            return
        self.to_send.append(trial.id)

    def restore(self, trial: str, run: Run) -> None:
        """Write the parts of a trace that MLflow alone has into the sweep's folder."""
        with tempfile.TemporaryDirectory(prefix="raysel-") as scratch:
            table = pq.read_table(self.client.download_artifacts(run.info.run_id, TRACE, scratch))
        parts = self.folder / "trials" / trial / "trace"
        parts.mkdir(parents=True, exist_ok=True)
        for epoch in self.to_restore[trial]:
            rows = table.filter(pc.equal(table["epoch"], epoch))
            partial = parts / f".epoch-{epoch:04d}.parquet"
            pq.write_table(rows, partial)
            partial.replace(trace_figure.part(parts, epoch))

    def _look_for(self, trial: str, epochs: list[int], run: Run, there: bool) -> None:
        known: set[int] = set()
        if there:
            with tempfile.TemporaryDirectory(prefix="raysel-") as scratch:
                file = self.client.download_artifacts(run.info.run_id, TRACE, scratch)
                known = set(pq.read_table(file, columns=["epoch"])["epoch"].to_pylist())
        found = [epoch for epoch in epochs if epoch in known]
        if found:
            self.to_restore[trial] = found
        if left := [epoch for epoch in epochs if epoch not in known]:
            self.lost.append(f"{trial}: the trace of {_counted(left)} is nowhere any more")

    def _same(self, trial: str, parts: Path, run: Run) -> bool:
        """Whether MLflow's trace equals the parts'; unreadable parts are reported."""
        try:
            here = trace_figure.read(parts)
        except Exception as error:  # pyarrow raises whatever a flipped bit leads to
            self.lost.append(f"{trial}: its trace in {parts} cannot be read ({error})"[:300])
            return True
        with tempfile.TemporaryDirectory(prefix="raysel-") as scratch:
            there = self.client.download_artifacts(run.info.run_id, TRACE, scratch)
            try:
                # as data frames: a score that is not a number equals itself there
                return bool(pq.read_table(there).to_pandas().equals(here.to_pandas()))
            except Exception:  # it is damaged there
                return False

    def _sizes(self, run: Run, *folders: str) -> dict[str, int]:
        """Bytes by name of a run's files in some folders."""
        listed = [
            info
            for folder in folders
            for info in self.client.list_artifacts(run.info.run_id, folder or None)
        ]
        inner = [i.path for i in listed if i.is_dir and i.path not in folders]
        found = {info.path: int(info.file_size or 0) for info in listed if not info.is_dir}
        below = [path for path in inner if path.startswith(f"{REPORT}/")]
        return found | (self._sizes(run, *below) if below else {})


def _named(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _counted(epochs: list[int]) -> str:
    return f"epoch {epochs[0]}" if len(epochs) == 1 else f"{len(epochs)} epochs"
