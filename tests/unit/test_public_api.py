"""`import raysel`: the names, what they load, sweeps and results as Python values."""

from __future__ import annotations

import importlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from few_kit import few
from view_kit import make

import raysel
from raysel.cli import python_api
from raysel.common.torchvision_compat import ensure_importable
from raysel.models.build import ModelConfig, build
from raysel.record.layout import SweepFolder
from raysel.sweep.outcome import Outcome
from raysel.sweep.results import SweepResults

DOCS = Path(raysel.__file__).parents[1] / "docs" / "python.md"

HEAVY = ("torch", "torchvision", "timm", "ray", "optuna", "mlflow", "pandas", "numpy", "pydantic")

SWEEP: dict[str, Any] = {
    "name": "look",
    "task": {"data": "digits", "split": {"train": 20, "validation": 20, "test": 20}},
    "model": {"name": "test_resnet.r160_in1k", "weights": "start.safetensors"},
    "strategies": {"bvg_ls": {"ema_decay": 0.5}, "linear_probe": None},
    "training": {"epochs": 2, "batch_size": 10, "learning_rate": 1e-3},
}


OUTSIDE = {"strategies.bvg_ls.ema_decay": 2}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with initial weights, a sweep's dictionary and its file."""
    monkeypatch.chdir(tmp_path)
    start = build(ModelConfig("test_resnet.r160_in1k", 10, 1, (8, 8)), seed=0)
    safetensors.torch.save_file(start.state_dict(), "start.safetensors")
    (tmp_path / "sweep.yaml").write_text(json.dumps(SWEEP))
    return tmp_path


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(raysel.UserError) as caught:
        call()
    return str(caught.value)


# --- names ----------------------------------------------------------------------------------------


def test_importing_raysel_imports_nothing_heavy():
    code = f"import raysel, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_is_there_and_is_listed():
    for name in raysel.__all__:
        assert getattr(raysel, name) is not None
    assert set(raysel.__all__) <= set(dir(raysel))
    named = [name for names in raysel._MODULES.values() for name in names]
    assert sorted(named) == sorted(raysel.__all__)


def test_the_names_that_a_type_checker_sees_are_those_that_are_loaded():
    text = Path(raysel.__file__).read_text(encoding="utf-8")
    typed = dict(re.findall(r"^    from (\S+) import (.+)$", text, re.MULTILINE))
    assert {module: tuple(names.split(", ")) for module, names in typed.items()} == raysel._MODULES


def test_another_name_is_an_attribute_error_and_a_submodule_is_found():
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        raysel.runn  # noqa: B018
    with pytest.raises(ImportError):
        exec("from raysel import runn")
    assert importlib.import_module("raysel.cli") is not None


# --- load_spec ------------------------------------------------------------------------------------


def test_a_dictionary_is_the_sweep_that_its_file_is(folder):
    assert raysel.load_spec(SWEEP) == raysel.load_spec("sweep.yaml")
    assert raysel.load_spec(SWEEP) == raysel.load_spec(folder / "sweep.yaml")
    assert raysel.load_spec(raysel.load_spec(SWEEP)) == raysel.load_spec(SWEEP)


@pytest.mark.parametrize(
    "overrides",
    [
        {"training.epochs": 5, "name": "other", "strategies.bvg_ls.ema_decay": 0.25},
        ["training.epochs=5", "name=other", "strategies.bvg_ls.ema_decay=0.25"],
        {
            "training": {**SWEEP["training"], "epochs": np.int64(5)},
            "name": "other",
            "strategies": {"bvg_ls": {"ema_decay": np.float64(0.25)}, "linear_probe": None},
        },
    ],
)
@pytest.mark.parametrize("source", few(SWEEP, "sweep.yaml"), ids=["dictionary", "file"])
def test_overrides_are_put_on_top(folder, source, overrides):
    spec = raysel.load_spec(source, overrides)
    assert (spec.name, spec.training.epochs) == ("other", 5)
    assert spec.strategies["bvg_ls"].parameters == {"ema_decay": 0.25}


def test_a_path_in_a_dictionary_is_a_path_in_the_sweep(folder):
    model = {"name": "test_resnet", "weights": folder / "start.safetensors"}
    assert raysel.load_spec(SWEEP | {"model": model}).model.weights == str(
        folder / "start.safetensors"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"strategies": {"bvg_lss": None}},
            'no strategy is called "bvg_lss"; did you mean "bvg_ls"?',
        ),
        ({"strategies": {"bvg_ls": {"ema_decay": 1.2}}}, "strategies.bvg_ls.ema_decay: 1.2 is out"),
        ({"strategis": {}}, 'strategis: unknown key; did you mean "strategies"?'),
        ({"model": {"name": "resnet19"}}, 'model.name: timm has no model "resnet19"; did you mean'),
        ({"training": {"epochs": -1}}, "training.epochs: -1 is not accepted"),
        ({"code_files": ["none.py"]}, "code_files.0: there is no file none.py"),
    ],
)
def test_a_mistake_names_the_field_and_no_line_of_a_text_that_nobody_wrote(folder, change, said):
    message = refused(lambda: raysel.load_spec(SWEEP | change))
    assert said in message
    assert "(line" not in message


def test_a_missing_file_or_a_value_that_no_sweep_can_hold_is_refused(folder):
    assert refused(lambda: raysel.load_spec("swep.yaml")) == "swep.yaml: there is no such file"
    with pytest.raises(TypeError, match="object cannot be a value of a sweep"):
        raysel.load_spec(SWEEP | {"description": object()})


# --- partition ------------------------------------------------------------------------------------


def test_a_model_is_cut_by_its_name_or_as_a_module():
    model = build(ModelConfig("test_resnet", 10, 3, (32, 32)), seed=0)
    by_name = raysel.partition("test_resnet", classes=10)
    assert by_name == raysel.partition(model)
    assert by_name.names[0] == "stem" and by_name.names[-1] == "head"
    assert len(raysel.partition("resnet18", "fine")) > len(raysel.partition("resnet18"))
    assert raysel.partition(model, ["conv1", "."]).names == ("conv1", ".")


def test_by_its_name_alone_it_has_the_classes_of_its_weights_and_any_image():
    head = raysel.partition("resnet18").layers[-1]
    assert head.sizes == (512 * 1000, 1000)
    grey = raysel.partition("resnet18", image=(1, 64, 64))
    assert grey.layers[0].sizes[0] == 64 * 1 * 7 * 7


def test_a_wrong_model_or_rule_is_answered_with_the_nearest():
    assert 'did you mean "resnet18"?' in refused(lambda: raysel.partition("resnet81"))
    assert 'did you mean "fine"?' in refused(lambda: raysel.partition("resnet18", "fime"))


# --- results --------------------------------------------------------------------------------------


def _results(storage: Path, status: str = "complete") -> Path:
    """The folder of a sweep of two trials and two confirm runs, by hand."""
    path = make(storage, "look", spec=json.dumps(SWEEP)).path
    (path / "trials" / "0000" / "trace").mkdir(parents=True)
    (path / "best").mkdir()
    trials = [
        {
            "id": f"{number:04d}",
            "number": number,
            "strategy": strategy,
            "label": strategy,
            "status": state,
            "cause": None,
            "config": {"strategy": strategy, "seed": 0},
            "searched": searched,
            "value": value,
            "best_epoch": 1,
            "seconds": 0.5,
            "epochs": [{"epoch": 1, "val/error": value, "train/loss": None}],
        }
        for number, strategy, state, searched, value in (
            (0, "full", "COMPLETE", {"learning_rate": 0.1}, 0.5),
            (1, "bvg_ls", "PRUNED", {"learning_rate": 0.2, "ema_decay": 0.9}, 0.25),
        )
    ]
    runs = [
        {"id": f"confirm-bvg_ls-s{i}", "seed": i, "val/error": 0.25, "test/error": 0.25 + i / 10}
        | {"moved": {"stem": 1.0}}
        for i in range(2)
    ]
    confirm = {
        "strategy": "bvg_ls",
        "trial": "0001",
        "label": "bvg_ls lr=0.2",
        "runs": runs,
        "validation": 0.25,
        "test_error": {"mean": 0.3, "low": 0.2, "high": 0.4, "n": 2},
    }
    verdict = {"winner": "bvg_ls", "against": None, "measure": "test/error", "difference": None}
    verdict |= {"low": None, "high": None, "n": 0, "outcome": "no_baseline", "sentence": "It won."}
    results = {"name": "look", "status": status, "layers": ["stem", "head"], "trials": trials}
    results |= {"confirm": [confirm], "verdict": verdict}
    (path / "results.json").write_text(json.dumps(results))
    for epoch in (1, 2):
        rows = {"step": [epoch] * 2, "epoch": [epoch] * 2, "layer": ["stem", "head"]}
        rows |= {"weight": [0.0, 1.0], "score": [0.5, float(epoch)]}
        part = path / "trials" / "0000" / "trace" / f"epoch-{epoch:04d}.parquet"
        pd.DataFrame(rows).to_parquet(part)
    return path


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _results(tmp_path / "runs")
    return raysel.Results.load("look")


def test_results_are_found_by_name_and_by_folder(results, tmp_path):
    folder = tmp_path / "runs" / "look"
    for sweep in ("runs/look", Path("runs/look"), str(folder), folder):
        found = raysel.Results.load(sweep)
        assert found.path.resolve() == folder and found.data == results.data
    assert raysel.Results.load("look", tmp_path / "runs").data == results.data


def test_they_are_typed_and_frozen(results):
    assert (results.name, results.complete, results.layers) == ("look", True, ("stem", "head"))
    assert results.verdict.winner == "bvg_ls" and str(results.verdict) == "It won."
    best = results.best
    assert (best.strategy, best.trial, best.test_error, best.seeds) == ("bvg_ls", "0001", 0.3, 2)
    assert best.config == {"strategy": "bvg_ls", "seed": 0}
    assert best.model == results.path / "best"
    with pytest.raises(AttributeError):
        results.path = Path()


def test_without_a_confirmed_strategy_there_is_no_best(results):
    data = {"name": "look", "trials": [], "confirm": [], "verdict": {}}
    nothing = raysel.Results(results.path, SweepResults.model_validate(data))
    assert nothing.best is None and not nothing.complete
    assert nothing.trials().empty and "strategy" in nothing.trials()
    assert nothing.confirm().empty


def test_trials_are_a_data_frame_with_a_column_a_searched_value(results):
    frame = results.trials()
    assert list(frame["strategy"]) == ["full", "bvg_ls"]
    assert list(frame["params_learning_rate"]) == [0.1, 0.2]
    assert frame["params_ema_decay"].isna().tolist() == [True, False]
    assert list(frame["epochs"]) == [1, 1] and list(frame["status"]) == ["COMPLETE", "PRUNED"]


def test_epochs_and_confirm_runs_are_data_frames(results):
    assert results.epochs(1).to_dict("records") == [
        {"epoch": 1, "val/error": 0.25, "train/loss": None}
    ]
    frame = results.confirm()
    assert list(frame["seed"]) == [0, 1] and list(frame["test/error"]) == [0.25, 0.35]
    assert "moved" not in frame


@pytest.mark.parametrize("trial", [0, "0", "0000"])
def test_a_trace_is_a_data_frame_in_the_order_of_its_steps(results, trial):
    frame = results.trace(trial)
    assert list(frame.columns) == ["step", "epoch", "layer", "weight", "score"]
    assert list(frame["step"]) == [1, 1, 2, 2]
    assert list(frame["score"]) == [0.5, 1.0, 0.5, 2.0]


def test_a_wrong_sweep_or_trial_is_answered_with_the_nearest(results):
    assert 'did you mean "look"?' in refused(lambda: raysel.Results.load("lok"))
    assert "look has no such trial" in refused(lambda: results.trace(7))
    assert 'did you mean "confirm-bvg_ls-s0"?' in refused(lambda: results.trace("confirm-bvg-s0"))
    assert "look has no such trial" in refused(lambda: results.epochs("confirm-bvg_ls-s0"))
    with pytest.raises(raysel.OperationalError, match="holds no selection trace"):
        results.trace(1)


def test_a_sweep_without_results_is_an_error_with_the_way_on(results):
    (results.path / "results.json").unlink()
    with pytest.raises(raysel.OperationalError, match="has no results yet; go on with: raysel res"):
        raysel.Results.load("look")


# --- finetune -------------------------------------------------------------------------------------


def test_finetune_in_a_thread_trains_prints_and_leaves_the_signals_alone(folder, capsys):
    """A notebook's kernel may run a cell in a thread: no handler can be set there."""
    before = [signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    found: dict[str, Any] = {"raysel": raysel, "FEW": {"training.epochs": 1}}
    cell = 'tuned = raysel.finetune("sweep.yaml", "linear_probe", overrides=FEW)'
    thread = threading.Thread(target=exec, args=(cell, found))
    thread.start()
    thread.join()
    tuned = found["tuned"]
    assert isinstance(tuned, raysel.FineTuned) and tuned.failure is None
    assert [row["epoch"] for row in tuned.rows] == [1]
    assert isinstance(tuned.model, torch.nn.Module)
    assert (tuned.folder / "model" / "model.safetensors").is_file()
    assert "1/1  train/loss" in capsys.readouterr().out
    after = [signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert before == after


def test_finetune_can_be_quiet_and_refuses_a_strategy_that_the_sweep_lacks(folder, capsys):
    tuned = raysel.finetune(SWEEP, steps=1, progress=False)
    assert tuned.config.strategy == "bvg_ls" and tuned.config.parameters["ema_decay"] == 0.5
    assert capsys.readouterr().out == ""
    assert 'did you mean "bvg_ls"' in refused(lambda: raysel.finetune(SWEEP, "bvg_lss"))


@pytest.mark.parametrize("call", [raysel.run, raysel.finetune])
def test_a_sweep_that_is_not_sound_is_refused_before_anything_starts(folder, call):
    assert "ema_decay: 2 is" in refused(lambda: call(SWEEP, overrides=OUTSIDE))
    assert not (folder / "runs").exists()


def test_resuming_a_sweep_that_is_not_there_is_refused(folder):
    (folder / "runs" / "look").mkdir(parents=True)
    (folder / "runs" / "look" / "spec.yaml").write_text(json.dumps(SWEEP))
    assert 'did you mean "look"?' in refused(lambda: raysel.resume("lok"))


# --- run and resume without Ray; with it: tests/integration/test_python_api.py -----------------


def _outcome(results: raysel.Results, failed: bool = False) -> Outcome:
    return Outcome(
        folder=SweepFolder(results.path),
        results=results.data,
        inputs=None,  # type: ignore[arg-type]
        complete=not failed,
        cause="5 trials in a row failed: no" if failed else None,
        resume="raysel resume look",
        failed=failed,
        tracking_uri="sqlite:///mlflow.db",
        checkpoint=lambda trial: None,
    )


def test_run_and_resume_hand_on_what_they_are_given_and_return_the_results(
    folder, results, monkeypatch, capsys
):
    calls: list[tuple[Any, ...]] = []

    def begun(*arguments: Any) -> Outcome:
        calls.append(arguments)
        return _outcome(results)

    monkeypatch.setattr(python_api.start, "start", begun)
    monkeypatch.setattr(python_api.start, "resume", begun)
    spec = raysel.load_spec(SWEEP)
    ran = raysel.run(spec, progress=False)
    raysel.run(spec, overrides=["training.epochs=5"], resume_if_exists=True, progress=False)
    resumed = raysel.resume("look", overrides={"search.num_trials": 60}, progress=False)
    assert ran.data == resumed.data == results.data
    assert calls[0][0] is spec and calls[0][3] is False
    assert calls[1][0].training.epochs == 5 and calls[1][3] is True
    storage, name, _, _, overrides, from_backup = calls[2]
    assert (storage, name, from_backup) == ("runs", "look", False)
    assert overrides == ("search.num_trials=60",)
    assert capsys.readouterr().out == ""


def test_a_sweep_whose_trials_fail_one_like_the_other_raises(folder, results, monkeypatch):
    monkeypatch.setattr(python_api.start, "start", lambda *_: _outcome(results, failed=True))
    with pytest.raises(raysel.OperationalError, match="in a row failed: no; go on with: raysel re"):
        raysel.run(SWEEP, progress=False)


# --- the documentation ----------------------------------------------------------------------------


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_the_loops_of_the_documentation_run_as_they_stand(capsys):
    plain, measured, _ = blocks()
    assert len(plain.splitlines()) <= 15
    ensure_importable()  # timm, beside a torchvision without its C extension
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(plain, names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and all(line.count("1.0") == 1 for line in lines)
    before = names["model"].fc.weight.detach().clone()
    exec(measured, names)
    assert not torch.equal(names["model"].fc.weight, before)
    assert names["optimizer"].steps == 16
