"""What a trial asks Ray for."""

from __future__ import annotations

from raysel.engine.placement import of_task, of_trial
from raysel.spec.sweep import ResourcesSpec

WHOLE = ResourcesSpec.model_validate(
    {
        "cpus": 2,
        "gpus": 0.5,
        "custom": {"disk": 1},
        "labels": {"ray.io/accelerator-type": "in(H100, H200)"},
    }
)


def test_a_trial_reserves_one_bundle_on_a_node_that_is_wanted():
    asked = of_trial(WHOLE)
    assert asked.bundles == [{"CPU": 2.0, "GPU": 0.5, "disk": 1.0}]
    selector = {"ray.io/accelerator-type": "in(H100, H200)"}
    assert asked._bound.kwargs["bundle_label_selector"] == [selector]


def test_a_plain_trial_asks_for_its_processor_only():
    asked = of_trial(ResourcesSpec())
    assert (asked.bundles, asked.strategy) == ([{"CPU": 1.0}], "PACK")


def test_a_task_asks_for_the_same_as_a_trial():
    assert of_task(WHOLE) == {
        "num_cpus": 2,
        "num_gpus": 0.5,
        "resources": {"disk": 1.0},
        "label_selector": {"ray.io/accelerator-type": "in(H100, H200)"},
    }
