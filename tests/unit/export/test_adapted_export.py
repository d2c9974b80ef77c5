"""A model with adapters leaves as timm's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
import safetensors.torch
import torch
from adapter_kit import CONFIG, images, logits, with_tuned_adapters

from raysel.cli.main import main
from raysel.export import best_model
from raysel.export.timm_layout import write_model
from raysel.models.adapters import merge_adapters
from raysel.models.build import ModelConfig, build
from raysel.spec.reader import parse
from raysel.tasks.load_task import load_task

ASK = """\
import sys
sys.path.insert(0, "best")
import torchvision_compat; torchvision_compat.ensure_importable()
import timm, torch
from safetensors.torch import load_file
given = load_file("given.safetensors")
model = timm.create_model("local-dir:best", pretrained=True).eval()
with torch.no_grad():
    found = model(given["images"])
assert not {"raysel", "peft", "transformers"} & set(sys.modules)
print(float((found - given["logits"]).abs().max() / given["logits"].abs().max()))
"""

FILE = """\
name: look
task: {data: digits, split: {train: 60, validation: 40, test: 20}}
model: {name: test_vit, weights: start.safetensors, adapter: {rank: 4}}
strategies: {full: , bvg_ls: }
training: {epochs: 2, batch_size: 10, learning_rate: 0.05}
"""

ADAPTED = "adapters (lora of rank 4 beside attention); they are merged into the weights"


@pytest.mark.slow
def test_plain_timm_in_a_process_of_its_own_gives_the_same_logits(tmp_path: Path) -> None:
    task = load_task(parse(FILE.replace("start.safetensors", "source")).task)
    config = ModelConfig(CONFIG.name, 10, 1, task.image_size, adapter=CONFIG.adapter)
    model = with_tuned_adapters(config)
    given = torch.nn.functional.interpolate(images(), task.image_size)
    with torch.no_grad():
        wanted = model(given)
    assert (wanted - build(config.plain, 1).eval()(given)).abs().max() > 0.01  # they were tuned
    safetensors.torch.save_file({"images": given, "logits": wanted}, tmp_path / "given.safetensors")
    merge_adapters(model)
    write_model(model, config.name, task, {"sweep": "s", "run": "r"}, tmp_path / "best")
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5


def test_a_trial_without_ray_leaves_a_merged_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    size = load_task(parse(FILE.replace("start.safetensors", "source")).task).image_size
    start = build(ModelConfig("test_vit", 10, 1, size), seed=0)
    safetensors.torch.save_file(start.state_dict(), "start.safetensors")
    Path("sweep.yaml").write_text(FILE, encoding="utf-8")
    assert main(["finetune", "sweep.yaml", "--strategy", "full"]) == 0
    folder = Path("runs/look.finetune/full")
    assert json.loads((folder / "result.json").read_text())["best_epoch"] > 0
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    assert ADAPTED in card
    tensors = safetensors.torch.load_file(folder / "model" / "model.safetensors")
    before = start.state_dict()
    assert set(tensors) == set(before)
    changed = {name for name in before if not torch.equal(before[name], tensors[name])}
    assert changed and all(".attn." in n or n.startswith("head.") for n in changed), changed
    assert any(".attn.qkv.weight" in name for name in changed)


def test_a_sweeps_best_model_is_merged_over_the_source_model_that_its_run_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task(parse(FILE.replace("start.safetensors", "source")).task)
    config = ModelConfig(CONFIG.name, 10, 1, task.image_size, adapter=CONFIG.adapter)
    first, second = (build(config.plain, seed).state_dict() for seed in (1, 2))
    tuned = build(config, 1, weights=second).eval()
    moved = {n: t for n, t in tuned.state_dict().items() if "lora_" in n or n.startswith("head.")}
    with torch.no_grad():
        for name, tensor in moved.items():  # the state's tensors are the model's
            tensor.add_(0.1 if "lora_B" in name else 0.0)
    state = {"config": {"source_seed": 1}, "best": (1, 0.1, None), "model": moved}
    inputs = SimpleNamespace(
        weights={name: tensor.numpy() for name, tensor in first.items()},
        more_weights=({name: tensor.numpy() for name, tensor in second.items()},),
        model_config=config,
        task=task,
    )
    outcome = SimpleNamespace(
        results=MagicMock(sweep_id="s"),
        folder=SimpleNamespace(best=tmp_path / "best", trial=lambda name: tmp_path / name),
        checkpoint=lambda name: state,
        inputs=SimpleNamespace(of_arm=lambda name: inputs),
    )
    run = SimpleNamespace(id="confirm-full-s1", seed=9)
    monkeypatch.setattr(best_model, "best_run", lambda runs, metric: run)
    monkeypatch.setattr(best_model, "sections", lambda *given: "")
    folder = best_model.save_best(cast(Any, outcome))
    assert folder is not None
    assert ADAPTED in (folder / "README.md").read_text(encoding="utf-8")
    plain = build(config.plain, 0).eval()
    plain.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    given = torch.nn.functional.interpolate(images(), task.image_size)
    with torch.no_grad():
        assert torch.allclose(plain(given), tuned(given), rtol=1e-4, atol=1e-5)


def test_logits_of_the_kit_are_of_the_adapted_model() -> None:
    assert (logits(with_tuned_adapters()) - logits(build(CONFIG, 1).eval())).abs().max() > 0.01
