"""What a person sees of a sweep in MLflow's own page and in Optuna's, in a real browser.

With RAYSEL_SCREENSHOTS=DIR the pages are kept there as pictures.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from browser_kit import IN_A_BROWSER
from mlflow.tracking import MlflowClient

from raysel.record.events import sqlite_url

from .helpers import states
from .mlflow_server import MlflowServer

pytestmark = IN_A_BROWSER
SECONDS = 60_000


@pytest.fixture
def page(browser, request):
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(SECONDS)
    yield page
    if folder := os.environ.get("RAYSEL_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{request.node.name}.png"))
    page.close()


@pytest.fixture(scope="module")
def trials(reference):
    return states(reference)


@pytest.fixture(scope="module")
def store(reference):
    return MlflowClient(sqlite_url(reference.parent / "mlflow.db"))


@pytest.fixture(scope="module")
def experiment(store):
    return store.get_experiment_by_name("reference").experiment_id


@pytest.fixture(scope="module")
def ui(reference, tmp_path_factory):
    server = MlflowServer(tmp_path_factory.mktemp("ui"), sqlite_url(reference.parent / "mlflow.db"))
    try:
        server.start()
        yield server.uri
    finally:
        server.stop()


@pytest.fixture(scope="module")
def dashboard(reference):
    pytest.importorskip("optuna_dashboard")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from optuna_dashboard._cli import main; main()"
    arguments = ["--host", "127.0.0.1", "--port", str(port), sqlite_url(reference / "optuna.db")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with suppress(OSError):
                urllib.request.urlopen(uri, timeout=5).close()
                break
            time.sleep(0.2)
        yield uri
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def run_id(store, experiment, trial):
    (run,) = store.search_runs([experiment], f"tags.`raysel.trial_id` = '{trial}'")
    return run.info.run_id


def open_runs(page, ui, experiment, **query):
    """The experiment's page as the switch `Model training` shows it."""
    words = "&".join(f"{k}={quote(v)}" for k, v in query.items())
    page.goto(f"{ui}/#/experiments/{experiment}/runs?workflowType=machine_learning&{words}")
    page.get_by_text("matching runs").wait_for()
    page.locator(".ag-row").first.wait_for()


def test_trials_stand_below_their_sweep(page, ui, experiment, trials):
    open_runs(page, ui, experiment)
    assert page.locator(".ag-center-cols-container .ag-row").count() == 1
    page.locator(".ag-row button").first.click()
    page.get_by_text("00 full lr=0.01").wait_for()
    assert page.locator(".ag-center-cols-container .ag-row").count() == 1 + len(trials)
    assert page.get_by_text("confirm full seed", exact=False).count() == 2


def test_pruned_trials_can_be_filtered(page, ui, experiment, trials):
    pruned = [t for t in trials.values() if t.status == "PRUNED"]
    assert pruned
    open_runs(page, ui, experiment, searchFilter='tags."raysel.status" = "PRUNED"')
    page.locator(".ag-row button").first.click()
    page.get_by_text(f"{pruned[0].number:02d} {pruned[0].label}", exact=True).first.wait_for()
    for trial in (t for t in trials.values() if t.phase == "search"):
        shown = page.get_by_text(f"{trial.number:02d} {trial.label}", exact=True).count()
        assert bool(shown) == (trial.status == "PRUNED")


def test_charts_are_grouped_by_what_stands_before_the_slash(page, ui, store, experiment, trials):
    trial = next(t for t in trials.values() if t.strategy == "bvg_ls" and t.phase == "search")
    run = run_id(store, experiment, trial.id)
    page.goto(f"{ui}/#/experiments/{experiment}/runs/{run}/model-metrics")
    groups = Counter(key.split("/")[0] for key in store.get_run(run).data.metrics)
    assert {"train", "val", "cost", "select", "score"} <= set(groups)
    for group, charts in groups.items():
        page.wait_for_function(
            r"([g, n]) => new RegExp(`^${g}\\s*\\(${n}\\)`, 'm').test(document.body.innerText)",
            arg=[group, charts],
        )


def test_the_picture_and_the_trace_lie_with_the_run(page, ui, store, experiment, trials):
    trial = next(t for t in trials.values() if t.strategy == "bvg_ls" and t.phase == "search")
    run = run_id(store, experiment, trial.id)
    page.goto(f"{ui}/#/experiments/{experiment}/runs/{run}/artifacts/selection/heatmap.png")
    page.get_by_text("trace.parquet").wait_for()
    page.wait_for_function(
        "[...document.images].some(i => i.complete && i.naturalWidth >= 700)", timeout=SECONDS
    )


def test_the_note_says_what_became_of_a_trial(page, ui, store, experiment, trials):
    trial = next(t for t in trials.values() if t.status == "PRUNED")
    run = run_id(store, experiment, trial.id)
    page.goto(f"{ui}/#/experiments/{experiment}/runs/{run}?workflowType=machine_learning")
    page.get_by_text(f"Stopped by the pruner after {len(trial.epochs)}").first.wait_for()
    page.get_by_text("raysel.status").first.wait_for()


def test_optunas_dashboard_shows_true_states_and_the_metrics_name(page, dashboard, trials):
    searched = [t for t in trials.values() if t.phase == "search"]
    page.goto(f"{dashboard}/dashboard/studies/1")
    page.get_by_text("val/error").first.wait_for()
    page.goto(f"{dashboard}/dashboard/studies/1/trials")
    page.get_by_text(f"{len(searched)} Trials").first.wait_for()
    listed = page.locator("li, [role=button], .MuiListItemButton-root")
    listed.first.wait_for()
    words = page.inner_text("body")
    shown = [line for line in words.split("Trial 0 (trial_id")[0].splitlines() if line.istitle()]
    wanted = Counter(trial.status.title() for trial in searched)
    assert Counter(line for line in shown if line in ("Complete", "Pruned", "Fail")) == wanted
