"""A sweep on a cluster that asks for a token: submitted, watched, stopped, resumed, fetched."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
import time
from pathlib import Path

import mlflow
import psutil
import pytest

from raysel.record.layout import tracking_uri
from raysel.record.state import RUNNING
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec

from . import drivers
from .head import BIN, COMMAND_SECONDS, ROOT, Head

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

SECRETS = {"MLFLOW_TRACKING_PASSWORD": "planted-password-1", "AWS_SECRET_ACCESS_KEY": "planted-2"}

WITNESS = """
import hashlib, os, pathlib
known = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
digest = hashlib.sha256(known.encode()).hexdigest()
pathlib.Path({folder!r}, str(os.getpid())).write_text(digest)
"""

SMALL = (
    *("search.num_trials=5", "training.epochs=1", "confirm.seeds=1", "pruner.kind=none"),
    *("model.name=test_resnet", "task.source=300"),
)


class Eavesdropper:
    """Reads what everyone on the machine can: the arguments of every process."""

    def __init__(self, words: list[str]) -> None:
        self._words, self._ended = words, threading.Event()
        self.heard: set[str] = set()
        self.looks = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        while not self._ended.wait(0.5):
            self.looks += 1
            for process in psutil.process_iter(["cmdline"]):
                line = " ".join(process.info["cmdline"] or ())
                self.heard |= {f"{word}: {line}" for word in self._words if word in line}

    def __enter__(self) -> Eavesdropper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture(scope="module")
def submitted(head: Head, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Eavesdropper]:
    """The quick start with a small budget, and whoever listened: what the terminal showed."""
    seen = tmp_path_factory.mktemp("witness")
    code = seen.parent / "witness.py"
    code.write_text(WITNESS.format(folder=str(seen)))
    sets = [f"--set={one}" for one in (*SMALL, "name=quick", f"code_files=[{code}]")]
    with Eavesdropper([*SECRETS.values(), head.token]) as eavesdropper:
        done, out, err = head.raysel(
            *("submit", "search_spaces/digits.yaml", "--address", head.address, *sets), **SECRETS
        )
    assert done == 0, out + err
    reported = {file.read_text() for file in seen.iterdir()}
    # this process, the driver and the workers
    assert reported == {hashlib.sha256(SECRETS["MLFLOW_TRACKING_PASSWORD"].encode()).hexdigest()}
    assert len(list(seen.iterdir())) >= 3
    return out + err, eavesdropper


def test_submit_follows_the_log_to_the_table(submitted: tuple[str, Eavesdropper]) -> None:
    shown, _ = submitted
    assert "job      quick-" in shown
    assert "quick · 5 trials" in shown and "progress search 5/5" in shown
    table = shown.index("test error")
    assert table < shown.index("verdict  ") < shown.index("report   ")


def test_no_secret_is_left_or_shown(head: Head, submitted: tuple[str, Eavesdropper]) -> None:
    shown, eavesdropper = submitted
    assert eavesdropper.looks > 5 and not eavesdropper.heard
    words = [*SECRETS.values(), head.token]
    assert not [word for word in words if word in shown]
    places = [path for root in (head.session, head.home) for path in root.rglob("*")]
    files = [p for p in places if p.is_file() and p != head.home / ".ray" / "auth_token"]
    names = {path.name for path in files}  # the logs, the bundle and MLflow are among them
    assert {"runtime_env_agent.log", "mlflow.db", "sweep.db", "sweep.yaml", "spec.yaml"} <= names
    found = [
        f"{word} in {path}"
        for path in files
        for content in [path.read_bytes()]
        for word in words
        if word.encode() in content
    ]
    assert not found


def test_status_logs_and_list_know_it(head: Head, submitted: tuple[str, Eavesdropper]) -> None:
    code, out, _ = head.raysel("status", "quick", "--json", "--address", head.address)
    reported = json.loads(out)
    assert (code, reported["state"], reported["exit_code"]) == (0, "SUCCEEDED", 0)
    assert reported["progress"]["phase"] == "confirm"
    assert reported["progress"]["done"] == reported["progress"]["total"]
    code, log, _ = head.raysel("logs", reported["id"], "--address", head.address)
    assert code == 0 and "verdict  " in log and log.splitlines()[-1] in submitted[0]
    # the address that was given beats Ray's own variable
    code, out, _ = head.raysel(
        *("list", "--json", "--address", head.address), RAY_API_SERVER_ADDRESS="http://127.0.0.1:1"
    )
    assert code == 0 and reported["id"] in {job["id"] for job in json.loads(out)["jobs"]}


def test_results_report_and_model_are_fetched(
    head: Head, submitted: tuple[str, Eavesdropper], tmp_path: Path
) -> None:
    code, out, err = head.raysel("fetch", "quick", "--address", head.address, cwd=tmp_path)
    assert code == 0, out + err
    folder = tmp_path / "fetched" / "quick"
    there = head.home / "raysel" / "runs" / "quick"
    for name in ("results.json", "report/index.html", "best/model.safetensors"):
        assert (folder / name).read_bytes() == (there / name).read_bytes(), name


def test_refusals_are_one_line(head: Head, tmp_path: Path) -> None:
    ask = ("status", "quick", "--address", head.address)
    cases = {
        (1, "401", "set RAY_AUTH_TOKEN"): head.raysel(*ask, HOME=str(tmp_path)),
        (1, "403", "set RAY_AUTH_TOKEN"): head.raysel(*ask, RAY_AUTH_TOKEN="wrong"),
        (2, "no such job", "nobody"): head.raysel("status", "nobody", "--address", head.address),
    }
    for (expected, *words), (code, out, err) in cases.items():
        (line,) = err.splitlines()
        assert code == expected and not out
        assert all(word in line for word in words), line


def test_a_sweep_is_stopped_in_order_and_resumed(head: Head, tmp_path: Path) -> None:
    more = ("training.epochs=40", "search.num_trials=3", "pruner.kind=none")
    spec = parse(drivers.TINY, [f"storage={tmp_path}/runs", "name=longer", *more])
    file = tmp_path / "longer.yaml"
    file.write_text(spec.to_yaml())
    to = ("--address", head.address)
    code, out, err = head.raysel("submit", str(file), "--no-wait", *to)
    assert code == 0, out + err
    drivers.wait_until(lambda: drivers.epochs(spec) >= 3, seconds=300)
    code, out, _ = head.raysel("submit", str(file), "--no-wait", *to)
    assert code == 0 and "runs already" in out
    began = time.monotonic()
    code, out, err = head.raysel("stop", "longer", *to)
    assert code == 0 and "has stopped" in out, out + err
    assert time.monotonic() - began < 120
    assert_terminal(spec)
    code, out, _ = head.raysel("status", "longer", "--json", *to)
    reported = json.loads(out)
    assert reported["state"] == "INTERRUPTED" and reported["exit_code"] == 130
    code, out, err = head.raysel("resume", "longer", *to)
    assert code == 0 and "-r2 goes on" in out, out + err
    drivers.check_agreement(spec, trials=3)


def assert_terminal(spec: Spec) -> None:
    """No trial and no run of MLflow is left running."""
    states = drivers.states(spec)
    assert states and not [t for t in states.values() if t.status == RUNNING]
    client = mlflow.MlflowClient(tracking_uri(spec))
    experiment = client.get_experiment_by_name(spec.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) >= 2 and {run.info.status for run in runs} <= {"FINISHED", "KILLED"}


def test_rays_own_command_runs_a_sweep_too(head: Head, tmp_path: Path) -> None:
    sets = (f"storage={tmp_path}/runs", "name=plain", "training.epochs=1", "search.num_trials=3")
    spec = parse(drivers.TINY, sets)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "sweep.yaml").write_text(spec.to_yaml())
    command = [
        *(str(BIN / "ray"), "job", "submit", "--address", head.address),
        *("--submission-id", "plain-job", "--working-dir", str(folder)),
        *("--runtime-env-json", json.dumps({"env_vars": {"PYTHONPATH": str(ROOT)}})),
        *("--", "raysel", "run", "sweep.yaml", "--resume-if-exists"),
    ]
    environment = head.environment(RAY_AUTH_MODE="token")
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    drivers.check_agreement(spec, trials=3)
    code, out, _ = head.raysel("status", "plain-job", "--json", "--address", head.address)
    reported = json.loads(out)
    assert (code, reported["state"]) == (0, "SUCCEEDED")
    assert reported["progress"]["phase"] == "confirm"  # from the heartbeat in its log
