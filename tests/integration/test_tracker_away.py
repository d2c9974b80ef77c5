"""A real MLflow server, with PostgreSQL behind it and basic auth before it, that goes away and
comes back: everything arrives, once, and nobody waits for it longer than a bound."""

import hashlib
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from mlflow.tracking import MlflowClient

from raysel.mlflow_sync.preflight import examine
from raysel.mlflow_sync.process import EVENTS_CURSOR
from raysel.record.events import SWEEP, Kind
from raysel.service.doctor.sweep_checks import check_tracker

from .gate import Gate
from .written import WrittenSweep

pytestmark = pytest.mark.slow  # a server and its database: an outage is in test_mlflow_writer

MEANWHILE = "; the sweep goes on, records are kept and sent later"


@pytest.fixture
def gate(tracker):
    gate = Gate(tracker.port)
    yield gate
    gate.shut()


@pytest.fixture
def sweep(tmp_path, tracker, monkeypatch):
    """A sweep whose MLflow is the server, and a test that may read and write there."""
    for name, value in tracker.login().items():
        monkeypatch.setenv(name, value)
    sweep = WrittenSweep(tmp_path, tmp_path, uri=tracker.uri)
    yield sweep
    sweep.record.close()


@pytest.fixture
def reported():
    return []


@pytest.fixture
def writer(sweep, gate, reported):
    """The writer, which knows the server by its gate only."""
    writer = sweep.process(gate.uri, reported.append)
    yield writer
    writer.stop()


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def seconds_of(action):
    before = time.monotonic()
    action()
    return time.monotonic() - before


def send_the_rest(sweep):
    """What `raysel reconcile` does when the tracker is back."""
    writer = sweep.process()
    writer.start()
    assert writer.drain(60)
    writer.stop()


def assert_all_there_once(sweep, trials):
    wanted = {SWEEP, *trials}
    assert sorted(r.data.tags.get("raysel.trial_id", SWEEP) for r in sweep.runs()) == sorted(wanted)
    for trial in trials:
        events = [s.event for s in sweep.record.events() if s.event.trial == trial]
        epochs = [e for e in events if e.kind == Kind.EPOCH]
        points = [(p[0], p[1], p[3]) for p in sweep.points(trial)]
        assert points == sorted(
            (key, e.epoch, round(e.at * 1000))
            for e in epochs
            for key in ("best/val_error", "train/loss", "val/error")
        )
        assert sweep.run(trial).info.status == "FINISHED"


def test_b01_away_before_during_and_after_everything_arrives_once(sweep, gate, writer, reported):
    sweep.whole_trial("0000")
    writer.start()  # away before it began
    wait_until(lambda: reported)
    assert reported == [f"{gate.uri} does not answer{MEANWHILE}"]
    gate.open()
    wait_until(lambda: len(reported) == 2)
    assert reported[1].startswith("back after ")
    assert reported[1].endswith("; 6 records sent")
    assert writer.drain(60)
    gate.shut()  # away in the middle
    sweep.whole_trial("0001")
    wait_until(lambda: len(reported) == 3)
    gate.open()
    assert writer.drain(60)
    gate.shut()  # away at the end
    sweep.whole_trial("0002")
    sweep.write(SWEEP, Kind.FINISHED, 1, status="COMPLETE", verdict="x")
    assert seconds_of(lambda: writer.drain(60)) < 6
    assert writer.lag() == 6
    assert seconds_of(writer.stop) < 2
    send_the_rest(sweep)
    assert_all_there_once(sweep, ["0000", "0001", "0002"])
    assert sweep.run(SWEEP).info.status == "FINISHED"


def test_away_at_the_end_costs_no_more_where_that_was_known_before(sweep, writer, reported):
    sweep.whole_trial("0000")
    writer.start()
    wait_until(lambda: reported)
    assert seconds_of(lambda: writer.drain(60)) < 1
    assert seconds_of(writer.stop) < 1


def test_a_server_that_takes_calls_and_never_answers_is_not_waited_for(sweep, gate, writer):
    sweep.whole_trial("0000")
    writer.start()
    gate.open(mute=True)
    time.sleep(3)  # it hangs in a call
    assert seconds_of(lambda: writer.drain(2)) < 3
    assert seconds_of(lambda: writer.stop(grace=0.5)) < 2


def test_b02_cut_between_two_batches_none_is_lost_and_none_twice(sweep, gate, writer, reported):
    trials = [f"{number:04d}" for number in range(20)]
    for trial in trials:
        sweep.start(trial)
        for epoch in range(1, 31):
            sweep.epoch(trial, epoch)
        sweep.end(trial)
    assert sweep.record.last_sequence() > 600  # more than a batch
    gate.shut_after(b"runs/log-batch", 19)  # in the second batch; the server took it
    gate.open()
    writer.start()
    wait_until(lambda: reported, 120)
    assert 0 < sweep.record.cursor(EVENTS_CURSOR) < sweep.record.last_sequence()
    gate.open()
    assert writer.drain(120)
    assert_all_there_once(sweep, trials)


def test_the_database_behind_it_is_restarted_and_nothing_is_lost(sweep, gate, writer, postgres):
    gate.open()
    sweep.whole_trial("0000")
    writer.start()
    assert writer.drain(60)
    postgres.stop(at_once=True)
    try:
        sweep.whole_trial("0001")
        time.sleep(2)
        assert writer.lag() == 5
    finally:
        postgres.start()
    wait_until(lambda: writer.lag() == 0)
    assert_all_there_once(sweep, ["0000", "0001"])


# --- refusals: one line each --------------------------------------------------------------------


def first_word(sweep, reported, uri):
    sweep.start("0000")
    writer = sweep.process(uri, reported.append)
    writer.start()
    wait_until(lambda: reported)
    assert seconds_of(lambda: writer.drain(60)) < 4
    writer.stop()
    (line,) = reported
    assert line.endswith(MEANWHILE)
    return line.removesuffix(MEANWHILE)


def test_no_password_is_reported_with_the_variables_to_set(sweep, reported, tracker, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    assert first_word(sweep, reported, tracker.uri) == (
        f"{tracker.uri} wants a user and a password (401); "
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )


def test_a_wrong_password_is_reported_and_stands_nowhere(sweep, reported, tracker, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-and-more")
    assert first_word(sweep, reported, tracker.uri) == (
        f"{tracker.uri} refuses this user or password (401); "
        "look at MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )
    assert "hunter2" not in sweep.log.read_text()


def test_a_user_who_may_only_read_is_reported_who_and_where(sweep, reported, tracker, monkeypatch):
    MlflowClient(tracker.uri).create_experiment(sweep.id)
    answer = requests.post(
        f"{tracker.uri}/api/2.0/mlflow/users/create",
        json={"username": "bob", "password": "a long password of bob"},
        auth=(tracker.user, tracker.password),
        timeout=20,
    )
    assert answer.ok, answer.text
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a long password of bob")
    assert first_word(sweep, reported, tracker.uri) == (
        f'{tracker.uri} does not let the user bob write into the experiment "{sweep.id}" (403)'
    )


def test_a_name_that_the_server_does_not_want_to_hear_is_reported(sweep, reported, tracker):
    gate = Gate(tracker.port, "127.0.0.2")  # on loopback, but not a name that MLflow knows
    gate.open()
    try:
        assert first_word(sweep, reported, gate.uri) == (
            f"{gate.uri} is not to be called by this name (403); "
            f"start it with --allowed-hosts 127.0.0.2:{gate.port}"
        )
    finally:
        gate.shut()


def test_an_unknown_host_is_reported(sweep, reported):
    assert first_word(sweep, reported, "http://mlflow.invalid:5000") == (
        'http://mlflow.invalid:5000 cannot be found: the host "mlflow.invalid" is not known'
    )


def test_something_else_that_listens_there_is_reported(sweep, reported, tmp_path):
    code = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)"
    code += "; print(s.server_port, flush=True); s.serve_forever()"
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        text=True,
    )
    try:
        uri = f"http://127.0.0.1:{int(other.stdout.readline())}"
        assert first_word(sweep, reported, uri) == (
            f"{uri} answers, but not as MLflow does (404); look at tracking.uri"
        )
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


# --- a store of another version -----------------------------------------------------------------


@pytest.fixture(scope="module")
def store_of_today(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        ("f5a4f2784254", "older than MLflow {} (schema f5a4f2784254); take a copy, then: "),
        ("0123456789ab", "newer than MLflow {} (schema 0123456789ab); install that one here"),
    ],
)
def test_the_tables_of_another_mlflow_are_reported_and_left_alone(
    sweep, reported, store_of_today, tmp_path, revision, words
):
    import mlflow

    store = tmp_path / "other.db"
    store.write_bytes(store_of_today.read_bytes())
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
        connection.execute("DROP TABLE model_definitions")  # MLflow would mend that unasked
    before = hashlib.sha256(store.read_bytes()).digest()
    line = first_word(sweep, reported, f"sqlite:///{store}")
    assert words.format(mlflow.__version__) in line
    assert hashlib.sha256(store.read_bytes()).digest() == before


# --- secrets ------------------------------------------------------------------------------------


def test_the_password_stands_in_no_argument_no_log_and_no_record(sweep, writer, gate, tracker):
    sweep.whole_trial("0000")
    writer.start()
    wait_until(lambda: sweep.log.read_text())  # a traceback: the gate is shut
    assert tracker.password not in Path(f"/proc/{writer._process.pid}/cmdline").read_text()
    gate.open()
    assert writer.drain(60)
    reported = [path.read_bytes() for path in sweep.folder.rglob("*") if path.is_file()]
    assert reported
    assert not [text for text in reported if tracker.password.encode() in text]
    tags = [run.data.tags for run in sweep.runs()]
    assert tracker.password not in str(tags)


# --- what the doctor says of it -----------------------------------------------------------------


@pytest.fixture
def login(tracker, monkeypatch):
    for name, value in tracker.login().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return tracker


def line(uri):
    """What the doctor says of an MLflow."""
    health = vars(examine(uri, "x"))
    (found,) = check_tracker(uri, health, "3.17.2")
    return found.line()


def test_a_server_that_takes_runs_and_files_is_sound(login):
    assert line(login.uri).startswith(f"ok       mlflow: {login.uri} takes runs (MLflow 3.")


def test_a_server_that_is_away_is_found(login):
    gate = Gate(login.port)
    assert line(gate.uri) == (
        f"error    mlflow: {gate.uri} does not answer. Start it, or look at tracking.uri"
    )


def test_a_name_that_the_server_does_not_allow_is_found(login):
    gate = Gate(login.port, "127.0.0.2")
    gate.open()
    try:
        assert line(gate.uri) == (
            f"error    mlflow: {gate.uri} is not to be called by this name (403). "
            f"Start it with --allowed-hosts 127.0.0.2:{gate.port}"
        )
    finally:
        gate.shut()


def test_a_wrong_password_is_found(login, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "something else")
    assert line(login.uri) == (
        f"error    mlflow: {login.uri} refuses this user or password (401). "
        "Look at MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )
