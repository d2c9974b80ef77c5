"""Nodes that are not there yet: what the autoscaler of `ray up` may start."""

from __future__ import annotations

from pathlib import Path

from raysel.capacity import Node
from raysel.sweep.cluster import grows, may_start

FILE = """
max_workers: 6
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}}
  cpu: {max_workers: 2, resources: {CPU: 8}}
  gpu: {max_workers: 9, resources: {CPU: 4, GPU: 1}, labels: {zone: a}}
  none: {max_workers: 0, resources: {CPU: 4}}
"""


def test_kinds_are_counted_without_those_that_are_up(tmp_path: Path):
    file = tmp_path / "bootstrap.yaml"
    file.write_text(FILE)
    up = [Node("head", {}), Node("worker", {"CPU": 8.0}, {"ray.io/node-group": "cpu"})]
    assert may_start(file, up) == [
        Node("cpu", {"CPU": 8.0}, {}, 1),
        Node("gpu", {"CPU": 4.0, "GPU": 1.0}, {"zone": "a"}, 6),
    ]


def test_all_of_a_kind_up_leaves_none_of_it(tmp_path: Path):
    file = tmp_path / "bootstrap.yaml"
    file.write_text(FILE)
    up = [Node("worker", {}, {"ray.io/node-group": "cpu"})] * 2
    assert "cpu" not in [node.name for node in may_start(file, up)]


def test_a_cluster_without_such_a_file_does_not_grow(tmp_path: Path):
    assert may_start(tmp_path / "nothing.yaml", []) == []
    (tmp_path / "other.yaml").write_text("- 1\n")
    assert may_start(tmp_path / "other.yaml", []) == []


def test_only_kuberays_autoscaler_brings_nodes_of_which_nothing_is_known(monkeypatch):
    monkeypatch.delenv("RAY_enable_autoscaler_v2", raising=False)
    assert not grows()
    monkeypatch.setenv("RAY_enable_autoscaler_v2", "1")
    assert grows()
