"""Where trials run, on a real Ray."""

from __future__ import annotations

import pytest
import ray

from raysel.cli.main import main

from .conftest import SMALL

QUICK = (
    "search.num_trials=2",
    "search.baselines=false",
    "strategies={full: , linear_probe: }",
    "training.epochs=1",
    "pruner.kind=none",
    "confirm.seeds=1",
)


def run(path, storage, *overrides):
    """A sweep of two short trials."""
    path.write_text(SMALL + f"storage: {storage}\n", encoding="utf-8")
    sets = [word for override in (*QUICK, *overrides) for word in ("--set", override)]
    return main(["run", str(path), "--quiet", *sets])


@pytest.mark.slow
def test_trials_run_on_nodes_with_the_label_and_the_resource_that_is_asked_for(
    ray_cluster, tmp_path, storage, capsys
):
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    identity, address = node["NodeID"], f"node:{node['NodeManagerAddress']}"
    labels = f"resources.labels={{ray.io/node-id: {identity}}}"
    custom = f"resources.custom={{'{address}': 0.01}}"  # every node has this one of its own
    code = run(tmp_path / "s.yaml", storage, "name=labelled", labels, custom)
    assert code == 0, capsys.readouterr().err


def test_a_label_that_no_node_has_is_refused_before_anything_starts(
    ray_cluster, tmp_path, storage, capsys
):
    code = run(tmp_path / "s.yaml", storage, "name=unlabelled", "resources.labels={zone: moon}")
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error  resources.labels.zone: a trial asks for a node with "moon"')
    assert not (storage / "unlabelled").exists()
