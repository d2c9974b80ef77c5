"""The model that a sweep exports, asked by timm alone in a process without raysel, answers to files
of photographs as raysel's own validation did when it was trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from raysel.models import timm

from .photographs import CLASSES, write_photographs

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

RAYSEL = str(Path(sys.executable).with_name("raysel"))

SWEEP = """
name: photographs
task:
  data: {{folder: {data}}}
  cache: {cache}
  split: {{train: all, validation: all, test: all}}
model: {{name: {name}, weights: {weights}}}
strategies: {{full: }}
training: {{epochs: 2, batch_size: 4, learning_rate: 0.01}}
search: {{num_trials: 1, baselines: false}}
pruner: {{kind: none}}
confirm: {{seeds: 1}}
storage: {storage}
"""

TIMM_ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
import torchvision_compat; torchvision_compat.ensure_importable()
import timm, torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
torch.set_num_threads(1)
model = timm.create_model(f"local-dir:{sys.argv[1]}", pretrained=True).eval()
config = timm.data.resolve_model_data_config(model)
assert config["crop_pct"] < 1
transform = timm.data.create_transform(**config, is_training=False)
with torch.inference_mode():
    pictures = (ImageOps.exif_transpose(Image.open(file)).convert("RGB") for file in sys.argv[3:])
    said = [model(transform(picture).unsqueeze(0)) for picture in pictures]
assert "raysel" not in sys.modules
save_file({"logits": torch.cat(said)}, sys.argv[2])
"""
"""What a user of timm writes."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 files for validation."""
    folder = tmp_path_factory.mktemp("photographs") / "data"
    write_photographs(folder, {"train": 16, "val": 50, "test": 8})
    return folder


def raysel(*arguments: str | Path) -> str:
    """What the command prints, in a process of its own with a Ray of its own."""
    # this process has set Ray's variables already: a user's shell has not
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))}
    command = [RAYSEL, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=inherited, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def seeded_weights(name: str, path: Path) -> Path:
    """A checkpoint of the architecture, as somebody who trained it gives it away."""
    torch.manual_seed(0)
    save_file(timm.create_model(name).state_dict(), path)
    return path


@pytest.mark.parametrize(
    "name", ["resnet10t.c3_in1k", "mobilenetv3_small_050.lamb_in1k", "test_vit.r160_in1k"]
)
def test_timm_alone_gives_the_logits_of_validation(name: str, data: Path, tmp_path: Path) -> None:
    file, exported = tmp_path / "photographs.yaml", tmp_path / "exported"
    weights = seeded_weights(name, tmp_path / "weights.safetensors")
    places = {"data": data, "cache": data.parent / "cache", "storage": tmp_path / "runs"}
    file.write_text(SWEEP.format(name=name, weights=weights, **places), encoding="utf-8")
    raysel("run", file, "--quiet")
    where = ("--to", exported, "--storage", tmp_path / "runs")
    reported = json.loads(raysel("export", "photographs", *where, "--check", "--json"))
    pictures = reported["check"]["pictures"]
    assert (pictures["files"], pictures["passed"], reported["check"]["passed"]) == (50, True, True)
    assert pictures["largest"] <= 1e-4
    for kind in ("JPEG RGB turned", "JPEG CMYK", "PNG L", "JPEG RGB large"):
        assert kind in pictures["kinds"]

    files = sorted((data / "val").rglob("*.*"))
    logits = asked(exported, files, tmp_path / "logits")
    assert logits.std(0).min() > 1e-3  # they say something
    labels = torch.tensor([list(CLASSES).index(file.parent.name) for file in files])
    loss = float(functional.cross_entropy(logits, labels))
    assert loss == pytest.approx(validated(tmp_path / "runs" / "photographs"), abs=1e-4)


def asked(exported: Path, files: list[Path], to: Path) -> torch.Tensor:
    """[n, classes] the logits by timm alone."""
    arguments = [sys.executable, "-c", TIMM_ALONE, exported, to, *files]
    subprocess.run(list(map(str, arguments)), cwd=to.parent, check=True)
    return load_file(to)["logits"]


def validated(sweep: Path) -> float:
    """The loss that validation found, when it was trained, in the epoch that was exported."""
    results = json.loads((sweep / "results.json").read_text(encoding="utf-8"))
    ((run,),) = (row["runs"] for row in results["confirm"])
    loss: float = run["val/loss"]
    return loss
