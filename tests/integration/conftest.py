"""One small Ray for all integration tests, and a sweep that takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysel.cli.publish_artifacts import publish_artifacts
from raysel.engine.connect import connected
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.sweep import session
from raysel.sweep.start import start
from raysel.training.source_run import SourceContext

from . import postgres as own_postgres
from .arguments import Arguments
from .head import Head
from .helpers import without_clocks
from .mlflow_server import MlflowServer
from .object_store import CREDENTIALS, ObjectStore

RAY_FIXTURES = {"ray_cluster", "head"}

ONE_AT_A_TIME = ("resources.max_concurrent_trials=1",)

SMALL = """
name: small
task:
  data: digits
  source: 300
  shift: {kind: gaussian_noise, severity: 3}
  split: {train: 60, validation: 60, test: 60, seed: 3}
model: {name: test_resnet}
strategies:
  full:
  linear_probe:
  surgical: {block: search}
  bvg_ls: {ema_decay: {float: [0.5, 0.99]}, ema_init: debiased}
  bvg_ls_threshold: {threshold: search}
training: {epochs: 3, batch_size: 20}
search: {num_trials: 8, seed: 1}
pruner: {grace_epochs: 1}
confirm: {seeds: 2}
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs Ray by a fixture is marked; a test whose driver starts its own says so."""
    for item in items:
        if RAY_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.ray)


@pytest.fixture(autouse=True, scope="module")
def credentials() -> Iterator[None]:
    """Those of the object store, for these tests alone: unit tests run in the same process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Two CPUs of Ray on loopback, stopped at the end."""
    os.environ.update(CREDENTIALS)  # its workers have the environment of its start
    with connected():
        yield


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder whose MLflow store and source models all tests share."""
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def paper_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the papers' sweep files name, small and in the real formats."""
    from .paper_data import write_place  # torch and timm, which most tests need later or never

    place = tmp_path_factory.mktemp("papers")
    with pytest.MonkeyPatch.context() as patch:
        write_place(place, patch)
        yield place


@pytest.fixture
def small(storage: Path) -> Spec:
    """A sweep of 8 trials over 5 strategies, 3 epochs each."""
    return parse(SMALL, [f"storage={storage}"])


@pytest.fixture
def small_file(tmp_path: Path, storage: Path) -> Path:
    """The same as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL + f"storage: {storage}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def arguments() -> Arguments:
    """The processes of the `reference` sweep; empty until it has run."""
    return Arguments()


@pytest.fixture(scope="session")
def phases() -> list[tuple[str, bool]]:
    """(controller, whether the test split was there) of each phase of `reference`."""
    return []


@pytest.fixture(scope="session")
def reference(
    ray_cluster: None, storage: Path, arguments: Arguments, phases: list[tuple[str, bool]]
) -> Path:
    """The folder of the small sweep, run one trial at a time by a driver that nobody stopped, with
    its report and best model."""
    real = session.run_phases

    def watched(given: Any, *rest: Any) -> None:
        def seen() -> Iterator[Any]:
            for phase in given:
                given_to = phase.context
                inside = given_to.task if isinstance(given_to, SourceContext) else given_to
                phases.append((type(phase.source).__name__, inside.test is not None))
                yield phase

        real(seen(), *rest)

    spec = parse(SMALL, [f"storage={storage}", "name=reference", *ONE_AT_A_TIME])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "run_phases", watched)
        return start(spec, arguments, publish_artifacts).folder.path


@pytest.fixture(scope="session")
def tiny_reference(ray_cluster: None, storage: Path) -> list[object]:
    """What the sweep of `lives` gives when nobody disturbs it, without clocks."""
    from . import drivers

    file, spec = drivers.write(storage / "untouched-tiny.yaml", "untouched-tiny", storage)
    code, out, err = drivers.here("run", str(file), "--quiet")
    assert code == 0, out + err
    return sorted(map(without_clocks, drivers.check_agreement(spec).values()))


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A Ray head of its own with a token, for one file's tests."""
    found = Head()
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[own_postgres.Postgres]:
    """A running PostgreSQL, stopped at the end. Whoever stops it starts it again."""
    if reason := own_postgres.why_not():
        pytest.skip(reason)
    server = own_postgres.Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_url(postgres: own_postgres.Postgres) -> str:
    """The URL of a fresh and empty database."""
    return postgres.new_database()


@pytest.fixture(scope="session")
def tracker(
    postgres: own_postgres.Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    """A running MLflow server: PostgreSQL behind it, basic auth before it."""
    folder = tmp_path_factory.mktemp("tracker")
    server = MlflowServer(folder, postgres.new_database(), auth=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A running S3 endpoint."""
    store = ObjectStore(tmp_path_factory.mktemp("object-store"))
    try:
        yield store
    finally:
        store.stop()


@pytest.fixture
def record(postgres_url: str) -> str:
    """`record` of a sweep file, in a database of its own."""
    return postgres_url.replace("+psycopg", "")


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One MLflow store for the sweeps of `written.py`: a fresh one takes seconds."""
    return tmp_path_factory.mktemp("mlflow")
