"""The four saved views, opened by their links in a real browser at a real MLflow server: rows,
columns and charts are there without a click.

The store is made by the exporter from events as a driver would write them. With
RAYSEL_SCREENSHOTS=DIR the pages are kept there as pictures.
"""

import os
import re
from pathlib import Path

import pytest
from browser_kit import IN_A_BROWSER

from raysel.common.tracking_uri import experiment_page
from raysel.mlflow_sync.client import MlflowStore
from raysel.mlflow_sync.exporter import MlflowExporter
from raysel.record.events import SWEEP, Event, Kind, Record, sqlite_url
from raysel.record.mlflow_page import noted_page
from raysel.spec.reader import parse

from .mlflow_server import MlflowServer

pytestmark = IN_A_BROWSER
LAYERS = ("stem", "layer1", "head")
RATES = {"full": (0.001, 0.01), "surgical": (0.02, 0.03), "linear_probe": (0.05, 0.1)}
FINAL = {"full": (0.30, 0.34), "surgical": (0.22, 0.40), "linear_probe": (0.45, 0.50)}
FILE = """
name: {name}
task: {{data: digits}}
model: {{name: test_resnet, weights: random}}
training: {{learning_rate: {{float: [0.001, 0.1], log: true}}, epochs: 4}}
strategies: {{full: , surgical: {{block: search}}}}
"""


class Written:
    """The events of a whole sweep: two trials and two confirm runs of three strategies."""

    def __init__(self, folder, name):
        folder.mkdir(parents=True)
        self.folder, self.record = folder, Record(sqlite_url(folder / "sweep.db"))
        self.at = 1_700_000_000.0
        self._write(
            SWEEP,
            Kind.SWEEP,
            0,
            name=name,
            sweep_id=f"{name.replace('/', '-')}-1a",
            description="Which layers should move?",
            spec=parse(FILE.format(name=name.replace("/", "-"))).to_yaml(),
            layers=list(LAYERS),
            folder=str(folder),
            objective={"metric": "val/error", "mode": "min"},
        )
        for number, (arm, at) in enumerate((arm, at) for at in (0, 1) for arm in RATES):
            self._run(f"{number:04d}", number, "search", arm, RATES[arm][at], FINAL[arm][at])
        for number, (arm, seed) in enumerate((arm, seed) for arm in RATES for seed in (0, 1)):
            run = f"confirm-{arm}-s{seed}"
            self._run(run, number, "confirm", arm, RATES[arm][0], FINAL[arm][0], seed)
        confirmed = [
            {"strategy": arm, "test_error": its[0] + 0.015, "validation": its[0], "runs": 2}
            for arm, its in FINAL.items()
        ]
        end = {"status": "COMPLETE", "verdict": "surgical is better", "confirmed": confirmed}
        self._write(SWEEP, Kind.FINISHED, 1, **end, model=str(folder / "best"))
        (folder / "best").mkdir()
        (folder / "best" / "README.md").write_text("# test_resnet, fine-tuned\n")

    def _write(self, trial, kind, epoch, **payload):
        self.at += 1
        assert self.record.append(Event(trial, kind, epoch, self.at, payload))

    def _run(self, trial, number, phase, arm, rate, final, seed=0):
        training = {"learning_rate": rate, "epochs": 4}
        block = {"block": "stem"} if arm == "surgical" else {}
        config = {"strategy": arm, "parameters": block, "training": training, "seed": seed}
        label = f"{arm} lr={rate}"
        started = {"phase": phase, "strategy": arm, "label": label, "config": config}
        self._write(trial, Kind.STARTED, 0, number=number, **started)
        for epoch in (1, 2, 3, 4):
            error = final + 0.1 * (3 - epoch if epoch < 4 else 0.5)  # the best one is the third
            metrics = {"val/error": error, "val/loss": 2 * error, "train/loss": 1 / epoch}
            metrics |= {"cost/seconds": 1.5, "train/skipped_steps": 0}
            metrics |= {f"select/{name}": 1.0 if arm == "full" else 0.5 for name in LAYERS}
            metrics |= {f"score/{name}": 0.1 * epoch for name in LAYERS}
            self._write(trial, Kind.EPOCH, epoch, metrics=metrics)
        tested = {} if phase == "search" else {"test/error": final + 0.01 * (1 + seed)}
        self._write(trial, Kind.ENDED, 4, status="COMPLETE", value=final, metrics=tested)

    def export(self, uri, experiment, art):
        def connect(sweep):
            return MlflowStore(uri, experiment, art, sweep)

        exporter = MlflowExporter(self.record, connect)
        while exporter.export_events() or exporter.export_artifacts():
            pass
        self.record.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """MLflow over a database that was written without a server, as `make ui` starts it."""
    folder = tmp_path_factory.mktemp("views")
    store = sqlite_url(folder / "mlflow.db")
    for name in ("toy", "study/a", "study/b"):
        written = Written(folder / name, name)
        written.export(store, name.partition("/")[0], str(folder / "art"))
    server = MlflowServer(folder, store)
    try:
        server.start()
        server.link = lambda name: noted_page(folder / name, store, server.port)
        yield server
    finally:
        server.stop()


@pytest.fixture
def opened(browser, server, request):
    """Opens a view of a sweep by the link that raysel prints."""
    page = browser.new_page(viewport={"width": 2200, "height": 1100})
    page.set_default_timeout(60_000)

    def opened(view, name="toy", charts=False):
        link = server.link(name).replace("raysel-trials", view)
        page.goto(link + ("&compareRunsMode=CHART" if charts else ""))
        page.locator(".ag-center-cols-container .ag-row, .ag-row").first.wait_for()
        page.get_by_text("matching runs").wait_for()
        return page

    yield opened
    if folder := os.environ.get("RAYSEL_SCREENSHOTS"):
        page.wait_for_timeout(2000)
        page.screenshot(path=str(Path(folder) / f"{request.node.name}.png"))
    page.close()


def column(page, name):
    """The cells of a column from the top, by MLflow's kind and name of it."""
    kind, key = name.split()
    cell = f'.ag-row [col-id="{kind}.`{key}`"]'
    page.locator(cell).first.wait_for()
    at = "Number(c.closest('.ag-row').getAttribute('row-index'))"
    rows = page.locator(cell).evaluate_all(f"cells => cells.map(c => [{at}, c.innerText])")
    return [text.strip() for _, text in sorted(rows)]


def wait_for_charts(page, section, charts, drawn):
    """Until a section is there with so many charts, and so many are drawn: those in sight."""
    page.wait_for_function(
        r"([s, n]) => new RegExp(`^${s}\\s*\\(${n}\\)`, 'm').test(document.body.innerText)",
        arg=[section, charts],
    )
    page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot').length >= {drawn}")


def test_the_first_link_opens_the_list_of_training_runs(opened):
    page = opened("raysel-trials")
    assert page.url.split("?")[0].endswith("/runs")
    assert page.get_by_role("heading", name=re.compile("Runs")).count()
    assert page.get_by_text("Views", exact=True).count() or page.get_by_text("Trials").count()


def test_trials_stand_flat_the_best_first_with_their_columns(opened):
    page = opened("raysel-trials")
    wanted = sorted((v, arm) for arm, values in FINAL.items() for v in values)
    assert [float(v) for v in column(page, "metrics best/val_error")] == pytest.approx(
        [value for value, _ in wanted]
    )
    assert column(page, "params strategy") == [arm for _, arm in wanted]
    assert column(page, "params surgical.block")[0] == "stem"
    assert float(column(page, "params training.learning_rate")[0]) == 0.02
    assert column(page, "tags raysel.epochs") == ["4 of 4"] * 6
    assert column(page, "tags raysel.status") == ["COMPLETE"] * 6


def test_trials_have_charts(opened):
    page = opened("raysel-trials", charts=True)
    wait_for_charts(page, "Search", 3, drawn=2)


def test_confirmed_has_a_row_a_strategy_by_test_error(opened):
    page = opened("raysel-confirmed")
    errors = column(page, "metrics test/error")
    assert [float(text.split()[0]) for text in errors] == pytest.approx([0.235, 0.315, 0.465])
    assert len(errors) == 3  # closed groups: no row a run
    assert [page.get_by_text(f"Group: {arm}").count() for arm in FINAL] == [1, 1, 1]


@pytest.mark.parametrize(
    ("view", "title", "charts"),
    [
        ("raysel-confirmed", "Confirmed", 2),
        ("raysel-curves", "By epoch", 3),
        ("raysel-layers", "How often a layer moved", 3),
    ],
)
def test_charts_are_drawn_without_a_click(opened, view, title, charts):
    page = opened(view, charts=True)
    wait_for_charts(page, title, charts, drawn=2)


def test_a_suites_trials_stand_together_with_their_cells(opened):
    page = opened("raysel-trials", "study")
    assert sorted(column(page, "tags raysel.cell")) == ["a"] * 6 + ["b"] * 6
    values = [float(v) for v in column(page, "metrics best/val_error")]
    assert values == sorted(values)


def test_the_parent_has_verdict_confirmed_metrics_and_the_card(opened, server):
    from mlflow import MlflowClient

    page = opened("raysel-trials")
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("toy").experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'toy'")
    assert run.data.metrics["confirmed/test_error/surgical"] == pytest.approx(0.235)
    own = experiment_page(server.uri, experiment).split("/runs?")[0] + f"/runs/{run.info.run_id}"
    page.goto(own)
    page.get_by_text("surgical is better").first.wait_for()
    page.goto(f"{own}/artifacts/best/README.md")
    page.get_by_text("test_resnet, fine-tuned").first.wait_for()
