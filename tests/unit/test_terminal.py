"""What `run --json` prints."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from rich.console import Console

from raysel.terminal import JsonWatcher
from raysel.tracking.record import Event, Kind


def test_a_metric_that_is_not_finite_is_null_and_every_line_is_json():
    def strict(name: str) -> Any:
        raise ValueError(name)

    out = StringIO()
    metrics = {"train/loss": float("nan"), "val/loss": float("inf"), "val/error": 0.5}
    JsonWatcher(Console(file=out)).event(Event("1", Kind.EPOCH, 1, 0.0, {"metrics": metrics}))
    told = json.loads(out.getvalue(), parse_constant=strict)
    assert told["metrics"] == {"train/loss": None, "val/loss": None, "val/error": 0.5}
