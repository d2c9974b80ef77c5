"""A sweep in a bucket that another machine may run: neither removed nor mended."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from view_kit import FINISHED, make

from raysel.common.errors import OperationalError, UserError
from raysel.record.events import Event
from raysel.record.layout import SweepFolder
from raysel.sweep import gc, reconcile
from raysel.sweep.gc import sweep_to_remove
from raysel.sweep.reconcile import reconcile_sweep
from raysel.sweep.replica import FRESH_SECONDS, run_elsewhere


def fetched(storage: Path, *events: Event, mine: bool = False, ago: float = 60.0) -> SweepFolder:
    folder = make(storage, "a", *events)
    note = {"head": "1a", "at": time.time() - ago, "mine": mine}
    (folder.path / ".bucket.json").write_text(json.dumps(note))
    return replace(folder, bucket=cast(Any, "s3://bucket/a"))


def test_it_is_reported_when_the_other_machine_was_heard_of(tmp_path: Path) -> None:
    assert "s3://bucket/a 1 min ago" in str(run_elsewhere(fetched(tmp_path)))


@pytest.mark.parametrize(
    ("events", "note"),
    [((FINISHED,), {}), ((), {"mine": True}), ((), {"ago": FRESH_SECONDS + 1})],
    ids=["ended", "of this machine", "long ago"],
)
def test_what_nobody_runs_is_free(
    tmp_path: Path, events: tuple[Event, ...], note: dict[str, Any]
) -> None:
    assert run_elsewhere(fetched(tmp_path, *events, **note)) is None


def test_it_is_neither_removed_unasked_nor_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetched(tmp_path)
    for module in (gc, reconcile):
        monkeypatch.setattr(module, "folder_of", lambda *_: folder)
    with pytest.raises(UserError, match="--yes"):
        sweep_to_remove("s3://bucket", "a")
    assert sweep_to_remove("s3://bucket", "a", even_elsewhere=True).bytes
    with pytest.raises(OperationalError, match="stop it there"):
        reconcile_sweep("s3://bucket", "a", dry_run=False, close=False)
