"""Copy missing files between MLflow and a sweep's folder."""

from __future__ import annotations

from collections.abc import Sequence

from raysel.mlflow_sync.audit import Audit
from raysel.mlflow_sync.client import MlflowStore
from raysel.mlflow_sync.exporter import upload_sweep_files, upload_trace
from raysel.record.events import SWEEP, Event
from raysel.record.state import fold, fold_sweep, located


def mend_files(
    audit: Audit, uri: str, experiment: str, artifact_root: str, events: Sequence[Event]
) -> None:
    """Restore parts of traces that MLflow alone has, and send what MLflow lacks.

    Args:
        audit: what was found.
        uri, experiment, artifact_root: as `MlflowStore` takes them.
        events: the record's.
    """
    files = audit.files
    assert files is not None
    sweep, trials = located(fold_sweep(events), files.folder), fold(events)
    for trial in files.to_restore:
        files.restore(trial, audit.runs[trial])
    store = MlflowStore(uri, experiment, artifact_root, sweep)
    for name in [*files.to_send, *(t for t in files.to_restore if t not in files.to_send)]:
        if name == SWEEP:
            upload_sweep_files(store, sweep)
        else:
            upload_trace(store, sweep, trials[name])
