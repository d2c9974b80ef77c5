"""Which trials fit onto which nodes."""

from __future__ import annotations

import pytest

from raysel.common.errors import UserError
from raysel.engine.capacity import Node, bundle, concurrent, of_task, selected, too_large
from raysel.engine.tune import of_trial
from raysel.spec.reader import parse
from raysel.spec.sweep import ResourcesSpec

HEAD = Node("head", {"CPU": 2.0, "memory": 8e9, "node:10.0.0.2": 1.0})
SMALL = Node("worker", {"CPU": 4.0, "GPU": 1.0})
LARGE = Node("worker", {"CPU": 16.0, "disk": 2.0}, {"zone": "a"})


def wanted(**resources: object) -> ResourcesSpec:
    return ResourcesSpec.model_validate(resources)


def reported(*nodes: Node, **resources: object) -> list[str]:
    return [str(problem) for problem in too_large(nodes, wanted(**resources))]


def test_a_trial_asks_ray_for_what_the_file_says():
    assert bundle(wanted(cpus=2)) == {"CPU": 2.0}
    assert bundle(wanted(cpus=1, gpus=0.25, custom={"disk": 1})) == {
        "CPU": 1.0,
        "GPU": 0.25,
        "disk": 1.0,
    }


def test_a_trial_that_fits_onto_one_node_is_not_too_large():
    assert reported(HEAD, SMALL, LARGE, cpus=4, gpus=1) == []
    assert reported(HEAD, SMALL, LARGE, cpus=16, custom={"disk": 2}, labels={"zone": "a"}) == []


def test_what_the_nodes_have_together_is_of_no_use():
    assert reported(SMALL, SMALL, SMALL, cpus=8) == [
        "resources.cpus: a trial asks for 8 CPUs; the cluster has 3 × worker (4 CPUs, 1 GPU)"
    ]


def test_every_resource_that_no_node_has_is_named():
    assert reported(HEAD, cpus=3, gpus=0.5, custom={"disk": 1}, labels={"zone": "b"}) == [
        f"resources.{asked}; the cluster has head (2 CPUs)"
        for asked in (
            "cpus: a trial asks for 3 CPUs",
            "gpus: a trial asks for 0.5 GPUs",
            "custom.disk: a trial asks for 1 disk",
            'labels.zone: a trial asks for a node with "b"',
        )
    ]


def test_resources_that_no_node_has_together_are_reported_together():
    assert reported(SMALL, LARGE, cpus=8, gpus=1) == [
        "resources: no node has 8 CPUs, 1 GPU together; "
        "the cluster has worker (4 CPUs, 1 GPU), worker (16 CPUs, 2 disk, zone=a)"
    ]


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({"cpus": 1}, 2 + 4 + 16),
        ({"cpus": 3}, 0 + 1 + 5),
        ({"gpus": 1}, 1),
        ({"gpus": 0.5}, 2),
        ({"gpus": 0.1}, 4),  # the CPUs are used up first
        ({"custom": {"disk": 0.5}}, 4),
        ({"labels": {"zone": "a"}}, 16),
        ({"cpus": 1, "max_concurrent_trials": 5}, 5),
    ],
)
def test_trials_are_counted_node_by_node(resources, count):
    assert concurrent([HEAD, SMALL, LARGE], wanted(**resources)) == count


def test_nodes_that_the_autoscaler_may_start_are_counted():
    coming = Node("gpu", {"CPU": 4.0, "GPU": 1.0}, count=4)
    assert concurrent([HEAD, coming], wanted(gpus=1)) == 4
    assert too_large([HEAD, coming], wanted(gpus=1)) == []


def test_a_trial_waits_where_nothing_fits_yet():
    assert concurrent([HEAD], wanted(gpus=1)) == 1


@pytest.mark.parametrize(
    ("label", "selector", "is_so"),
    [
        ("a", "a", True),
        ("b", "a", False),
        (None, "a", False),
        ("b", "!a", True),
        (None, "!a", True),
        ("a", "in(a, b)", True),
        ("c", "in(a, b)", False),
        ("c", "!in(a, b)", True),
    ],
)
def test_labels_are_selected_as_ray_does(label, selector, is_so):
    assert selected(label, selector) == is_so


def test_more_than_one_gpu_is_refused():
    with pytest.raises(UserError) as raised:
        parse(
            "name: x\ntask: {data: digits}\nmodel: {name: resnet10t}\nstrategies: {full: }\n"
            "resources: {gpus: 2}\n"
        )
    assert "resources.gpus: " in str(raised.value)
    assert "a trial uses one GPU; give 1, or a share of one" in str(raised.value)


@pytest.mark.parametrize(("given", "fits", "grows"), [(None, 1, 9), (3, 1, 3)])
def test_where_an_autoscaler_reports_no_sizes_more_trials_wait_than_fit(given, fits, grows):
    resources = wanted(cpus=2, max_concurrent_trials=given)
    assert concurrent([HEAD], resources) == fits
    assert concurrent([HEAD], resources, grows=True) == grows


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
