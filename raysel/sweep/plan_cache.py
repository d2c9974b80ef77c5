"""The estimate of `raysel plan`, kept until the sweep has been run: the report shows it
beside the real costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysel.common.locations import working_folder
from raysel.record.layout import CACHE, write_json
from raysel.spec.sweep import Spec
from raysel.sweep.results import Planned

PLANS = "plan"
"""In the cache, because a sweep will be compared with it and the user waited for it."""

_NOT_ITS_WORK = {"name", "description", "storage", "database_url", "tracking"}
"""Keys that do not affect the estimate."""


def write_plan(spec: Spec, plan: Mapping[str, Any]) -> Path:
    """Keep a plan in the storage, under a hash of what the sweep computes; where it lies."""
    path = _path(spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, plan)
    return path


def read_plan(spec: Spec) -> dict[str, Any] | None:
    """The last plan of just this sweep; None where none was made, or it cannot be read."""
    try:
        content = json.loads(_path(spec).read_text(encoding="utf-8"))
    except Exception:  # none, or damaged
        return None
    return content if isinstance(content, dict) else None


def brief(plan: Mapping[str, Any] | None) -> Planned | None:
    """What stands in `results.json` of a plan."""
    if plan is None:
        return None
    times = plan.get("seconds") or {}
    return Planned(
        seconds=times.get("total"),
        low=times.get("low"),
        high=times.get("high"),
        epochs=plan.get("epochs"),
        trials=plan.get("trials"),
        made_on=plan.get("measured_on"),
    )


def _path(spec: Spec) -> Path:
    dump = spec.model_dump(mode="json", by_alias=True, exclude=_NOT_ITS_WORK)
    key = hashlib.sha256(json.dumps(dump, sort_keys=True).encode()).hexdigest()[:24]
    return working_folder(spec.storage) / CACHE / PLANS / f"{key}.json"
