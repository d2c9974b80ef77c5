"""Where a trial runs: the resources that it requests from Ray, and its share of a GPU."""

from __future__ import annotations

import raysel.engine.ray_env  # noqa: F401

from typing import Any

from ray import tune

from raysel.engine.capacity import bundle
from raysel.spec.sweep import ResourcesSpec


def of_trial(resources: ResourcesSpec) -> tune.PlacementGroupFactory:
    """The resources that Tune reserves for each trial."""
    labels = {"bundle_label_selector": [dict(resources.labels)]} if resources.labels else {}
    return tune.PlacementGroupFactory([bundle(resources)], **labels)


def of_task(resources: ResourcesSpec) -> dict[str, Any]:
    """The same for a task: `ray.remote(**of_task(...))(function)`."""
    asked = {
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "resources": dict(resources.custom),
    }
    return asked | ({"label_selector": dict(resources.labels)} if resources.labels else {})
