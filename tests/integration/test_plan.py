"""`raysel plan` on a real Ray, and what becomes of it."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import pytest

from raysel.cli.main import main
from raysel.service.plan.estimate_sweep import estimate_sweep
from raysel.spec.reader import load
from raysel.sweep.plan_cache import read_plan

from .conftest import SMALL

QUICK = (
    *("search.num_trials=4", "search.baselines=false", "confirm.seeds=2"),
    *("strategies={full: , linear_probe: }", "pruner.kind=none"),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep of 4 trials and 4 confirm runs of 3 epochs, in a storage of its own."""
    path = tmp_path / "sweep.yaml"
    path.write_text(SMALL + f"storage: {tmp_path}/runs\n", encoding="utf-8")
    return path


def sets(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


@pytest.mark.slow
def test_a_plan_counts_measures_and_is_kept_for_the_report(ray_cluster, file, capsys):
    assert main(["plan", str(file), *sets(*QUICK), "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert (reported["trials"], reported["confirm_runs"], reported["epochs"]) == (4, 4, 3 * (4 + 4))
    assert reported["steps"] == 3 * reported["epochs"]  # 60 examples, 20 a batch
    seconds = reported["seconds"]
    assert 0 < seconds["low"] <= seconds["total"] <= seconds["high"]
    assert seconds["source"] > 0  # there is no source model yet
    full, probe = reported["strategies"]
    assert full["memory"]["gradients"] > probe["memory"]["gradients"] > 0
    assert full["timing"]["checkpoint"] > probe["timing"]["checkpoint"] > 0
    assert reported["failures"] == {} and reported["not_measured"] is None
    assert read_plan(load(file, QUICK)) == reported


def test_a_plan_for_what_no_node_has_reports_all_but_the_time(ray_cluster, file):
    spec = load(file, [*QUICK, "resources.gpus=0.5"])
    found = estimate_sweep(spec, (), gpus=2, price=3.0)
    assert found.duration is None and found.cost is None
    assert "resources.gpus: a trial asks for 0.5 GPUs; the cluster has head (2 CPUs)" in found.why
    assert found.costs.concurrent == 4  # two on each GPU
    assert found.trial_bytes is not None and found.trial_bytes > 0
    assert all(plan.memory and astuple(plan.memory) for plan in found.strategies)


@pytest.mark.slow
def test_the_report_sets_the_plan_beside_what_was_spent(ray_cluster, file, capsys):
    assert main(["plan", str(file), *sets(*QUICK)]) == 0
    out = capsys.readouterr().out
    assert "4 trials, 4 confirm runs · 24 epochs, 72 steps" in out
    assert "2 trials at a time on cpu" in out
    assert main(["run", str(file), *sets(*QUICK, "name=planned"), "--quiet"]) == 0
    results = json.loads((file.parent / "runs" / "planned" / "results.json").read_text())
    planned, spent = results["spent"]["planned"], results["spent"]["seconds"]
    assert planned["epochs"] == results["spent"]["epochs"] == 24
    assert 0.2 < planned["seconds"] / spent < 5  # how near it is, the benchmark tells
    page = (file.parent / "runs" / "planned" / "report" / "index.html").read_text()
    assert "<dt>planned</dt>" in page
