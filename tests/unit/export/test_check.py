"""An exported model answers to picture files as it did in validation, in a process that has timm
and no raysel."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exported_kit import exported, validated
from few_kit import several
from files_kit import KINDS, write_pictures

import raysel
from raysel.common.errors import OperationalError
from raysel.export.check import check
from raysel.export.check_pictures import validation_pictures
from raysel.models import timm
from raysel.tasks.datasets import open_pictures
from raysel.tasks.image_io import read_image

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
transform = timm.data.create_transform(**config, is_training=False)
with torch.inference_mode():
    pictures = (ImageOps.exif_transpose(Image.open(file)).convert("RGB") for file in sys.argv[3:])
    said = [model(transform(picture).unsqueeze(0)) for picture in pictures]
assert "raysel" not in sys.modules
save_file({"logits": torch.cat(said)}, sys.argv[2])
"""
"""What a user of timm writes; that cameras note the rotation is common knowledge."""


def checked(out: SimpleNamespace, scratch: Path):
    """What `raysel export --check` finds."""
    pictures = validation_pictures(out.spec, out.task, out.model, scratch)
    return check(out.folder, out.expected_outputs, pictures)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pictures"
    write_pictures(folder, 8)
    return folder


def says_the_same(out: SimpleNamespace, scratch: Path) -> None:
    """timm alone, from files, gives the logits of validation; and so finds the check."""
    sources = open_pictures(out.spec.task).sources
    files = [str(sources[int(index)]) for index in out.task.validation.indices]
    arguments = [sys.executable, "-c", TIMM_ALONE, out.folder, scratch / "said", *files]
    subprocess.run(arguments, cwd=scratch, check=True)
    from safetensors.torch import load_file

    said, wanted = load_file(scratch / "said")["logits"], validated(out)
    assert wanted.std() > 0.01  # logits that say something
    np.testing.assert_allclose(said, wanted, rtol=0, atol=1e-4)
    found = checked(out, scratch)
    assert (found.passed, found.pictures.passed, found.pictures.files) == (True, True, len(files))
    assert found.pictures.grey_levels < 1e-3
    assert found.pictures.largest <= 1e-4
    for words in ("JPEG RGB turned", "JPEG CMYK", "JPEG L", "JPEG RGB large"):
        assert words in found.pictures.kinds


def test_timm_alone_answers_as_validation_did(pictures: Path, tmp_path: Path):
    out = exported(pictures, tmp_path / "model", "test_vit2")
    assert out.task.validation.geometry.input.crop_share < 1
    says_the_same(out, tmp_path)


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fifty") / "pictures"
    write_pictures(folder, 50)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "test_vit"])
def test_fifty_files_of_four_kinds(name: str, fifty: Path, tmp_path: Path):
    assert len(KINDS) == 4
    out = exported(fifty, tmp_path / "model", name)
    assert out.task.validation.geometry.input.crop_share < 1
    says_the_same(out, tmp_path)


WITHOUT_RAYSEL = """
import os, runpy, sys
sys.modules["raysel"] = None
page, best, card = sys.argv[1:]
sys.path.insert(0, "")
named = {}
exec(page, named)
print(named["logits"].tolist())
sys.modules.pop("predict")
os.chdir(best)
exec(card, {})
os.chdir("../../..")
sys.modules.pop("predict")
sys.argv = ["predict.py", "photo.jpg", "damaged.jpg"]
runpy.run_path(os.path.join(best, "predict.py"), run_name="__main__")
"""
"""The page's code, the model card's and the script, each as it stands, in one process."""


def code_of(markdown: Path) -> str:
    """The first Python of a page that loads a model."""
    blocks = re.findall(r"```python\n(.*?)```", markdown.read_text("utf-8"), re.DOTALL)
    return next(block for block in blocks if "from predict import load" in block)


@pytest.mark.slow
def test_the_snippets_run_as_they_stand_without_raysel(pictures: Path, tmp_path: Path):
    best = tmp_path / "runs" / "digits" / "best"
    out = exported(pictures, best, "test_resnet")
    file = next((pictures / "val").rglob("turned-*.jpg"))
    for folder in (tmp_path, best):
        shutil.copy(file, folder / "photo.jpg")
    (tmp_path / "damaged.jpg").write_bytes(b"no picture")
    page = code_of(Path(raysel.__file__).parents[1] / "docs" / "results.md")
    command = [sys.executable, "-c", WITHOUT_RAYSEL, page, best, code_of(best / "README.md")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    logits, card, script = done.stdout.splitlines()
    files = open_pictures(out.spec.task).sources
    row = [files[int(index)] for index in out.task.validation.indices].index(file)
    wanted = validated(out)
    np.testing.assert_allclose(json.loads(logits), wanted[row : row + 1], rtol=0, atol=1e-4)
    likeliest = out.task.classes[int(wanted[row].argmax())]
    assert card == likeliest and script.startswith(f"photo.jpg: {likeliest} ")
    assert done.returncode == 1
    assert done.stderr.startswith("damaged.jpg: cannot be read")
    assert len(done.stderr.splitlines()) == 1


ALSO = [
    ("interpolation", "nearest"),
    ("mean", [0.4, 0.4, 0.4]),
    ("crop_mode", "squash"),
    ("input_size", [3, 96, 96]),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value"),
    [("crop_pct", 1.0), *(pytest.param(*values, marks=pytest.mark.slow) for values in ALSO)],
)
def test_the_check_sees_a_transform_that_is_another(
    pictures: Path, tmp_path: Path, key: str, value: object
):
    out = exported(pictures, tmp_path / "model", "test_resnet")
    path = out.folder / "config.json"
    config = json.loads(path.read_text())
    assert config["pretrained_cfg"][key] != value
    config["pretrained_cfg"][key] = value
    path.write_text(json.dumps(config))
    found = checked(out, tmp_path)
    assert found.equal  # the tensors are the same: that alone shows nothing
    assert (found.passed, found.pictures.passed) == (False, False)
    assert str(found.pictures).startswith("not as in validation")


@pytest.mark.parametrize(
    ("task", "wanted"),
    several(
        2,
        [
            ({"image_size": 40}, {"input_size": [3, 40, 40], "crop_pct": 1.0}),
            ({"preprocess": "unit"}, {"mean": [0.0] * 3, "std": [1.0] * 3, "crop_pct": 0.95}),
            ({"preprocess": "data"}, {"crop_pct": 0.95}),
            (
                {"shift": {"kind": "gaussian_noise"}},
                {"crop_pct": 0.95, "interpolation": "bilinear"},
            ),
        ],
    ),
)
def test_what_the_file_asks_for_is_in_the_config(
    pictures: Path, tmp_path: Path, task: dict[str, object], wanted: dict[str, object]
):
    out = exported(pictures, tmp_path / "model", "test_resnet", **task)
    config = json.loads((out.folder / "config.json").read_text())
    assert config["pretrained_cfg"] | wanted == config["pretrained_cfg"]
    assert config["pretrained_cfg"]["mean"] == list(out.task.mean)
    shift = out.task.shift.kind != "none"
    seen = validation_pictures(out.spec, out.task, out.model, tmp_path)
    assert ("shift" in config["raysel"]) == shift == ("shift" in seen.without)
    data = timm.data.resolve_data_config({}, pretrained_cfg=config["pretrained_cfg"])
    transform = timm.data.create_transform(**data, is_training=False)
    given = torch.stack([transform(read_image(file)) for file in seen.files])
    torch.testing.assert_close(given, seen.inputs, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_head_of_two_layers_is_built_without_raysel(pictures: Path, tmp_path: Path):
    out = exported(pictures, tmp_path / "model", "test_resnet", head="mlp")
    assert checked(out, tmp_path).passed


@pytest.mark.slow
def test_an_architecture_of_raysels_own_travels_with_its_model(pictures: Path, tmp_path: Path):
    out = exported(pictures, tmp_path / "model", "cifar_wrn_16_1")
    assert (out.folder / "code" / "wide_resnet.py").is_file()
    assert checked(out, tmp_path).passed


@pytest.mark.slow
def test_a_damaged_file_is_reported_in_a_line(pictures: Path, tmp_path: Path):
    out = exported(pictures, tmp_path / "model", "test_resnet")
    weights = out.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(OperationalError, match="timm cannot load it") as reported:
        check(out.folder, out.expected_outputs)
    assert "\n" not in str(reported.value)
