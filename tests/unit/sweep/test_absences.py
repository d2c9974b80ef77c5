"""What a sweep names and this machine does not have."""

from __future__ import annotations

import http.server
import json
import os
import threading
from pathlib import Path

import huggingface_hub
import pytest

from raysel.cli import main
from raysel.models import weight_sources
from raysel.models.weight_sources import why_not_available
from raysel.spec import reader
from raysel.sweep.absences import absences, resource_warnings
from raysel.tasks.opened_task import open_task

FILE = """
name: away
task: {data: {folder: photos}}
model: {name: test_resnet, weights: source}
strategies: {full: }
"""


def reported(*overrides: str) -> list[str]:
    spec = reader.parse(FILE, overrides)
    return [str(problem) for problem in absences(spec, open_task(spec.task))]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("task.data={folder: photos}", "task.data: there is no folder photos"),
        ("task.data={csv: labels.csv}", "task.data: there is no file labels.csv"),
        ("task.data=pets", "task.data: pets is not in data/ (expected data/oxford-iiit-pet)"),
        ("task.split.indices=s.json", "task.split.indices: there is no file s.json"),
        ("model.weights=w.pth", "model.weights: there is no file w.pth"),
    ],
)
def test_what_is_absent_is_named(override, line):
    assert any(problem.startswith(line) for problem in reported(override))


def test_what_will_be_downloaded_is_not_absent():
    assert reported("task.data=pets", "task.download=true") == []
    assert reported("task.data=digits") == []


def test_validate_refuses_absent_data_and_weights_unless_asked_to_do_without(capsys):
    Path("sweep.yaml").write_text(FILE)
    arguments = ["validate", "sweep.yaml", "--set", "model.weights=w.pth"]
    assert main.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "error  task.data",
        "error  model.weights",
    ]
    assert all("--without-data" in line for line in lines)
    assert main.main([*arguments, "--without-data"]) == 0
    warned = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in warned] == [
        "warning  task.data",
        "warning  model.weights",
    ]
    assert main.main([*arguments, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is False
    assert [one["path"] for one in found["problems"]] == ["task.data", "model.weights"]


def test_a_trial_that_no_node_here_holds_is_a_warning(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (warning,) = resource_warnings(reader.parse(FILE, ["resources.gpus=1"]))
    assert warning.path == "resources.gpus"
    assert "raysel submit FILE --address ADDRESS" in warning.message
    many = reader.parse(FILE, [f"resources.cpus={1 + (os.cpu_count() or 1)}"])
    assert [one.path for one in resource_warnings(many)] == ["resources.cpus"]
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert resource_warnings(many) == []  # that cluster is asked when the sweep starts


# --- timm's pretrained weights -------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """A hub that answers; its requests."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(404 if "test_resnet" in self.path else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_url", lambda repo, file, revision=None: f"{address}/{repo}/{file}"
    )
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_weights_are_available_where_the_hub_answers(hub):
    assert why_not_available("resnet10t") is None
    assert why_not_available("test_resnet") is None  # a refusal is an answer; the run tells it
    assert hub[0] == "/timm/resnet10t.c3_in1k/model.safetensors"


def test_weights_that_cannot_be_fetched_say_what_to_write(monkeypatch):
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_url", lambda *_, revision=None: "http://127.0.0.1:9/model"
    )
    reported = why_not_available("resnet10t")
    assert reported.startswith(
        "timm's weights of resnet10t cannot be fetched (127.0.0.1:9 does not"
    )
    assert "write model.weights: PATH" in reported and "model.weights: source" in reported
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in why_not_available("resnet10t")


def test_weights_in_the_cache_need_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(weight_sources, "urlopen", None)
    snapshot = tmp_path / "hub" / "models--timm--resnet10t.c3_in1k" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    assert why_not_available("resnet10t") is None


def test_a_model_for_which_timm_has_no_weights_is_reported_elsewhere():
    assert why_not_available("cifar_wrn_16_1") is None
