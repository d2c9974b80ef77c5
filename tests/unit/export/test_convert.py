"""ONNX and TorchScript of an exported model: they answer to picture files as validation did, in a
process without timm, and without torch where onnxruntime is enough."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from exported_kit import exported, validated
from files_kit import KINDS, scene, write_kind, write_pictures
from PIL import Image

from raysel.cli.main import main
from raysel.common.errors import OperationalError, UserError
from raysel.export import convert as converting
from raysel.export import predict_converted
from raysel.export.convert import convert
from raysel.export.sums import altered
from raysel.models import timm
from raysel.tasks.datasets import open_pictures

ALONE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from predict import load, open_picture
ask, transform, classes = load()
logits = [ask(transform(open_picture(file))[None])[0].tolist() for file in sys.argv[2:]]
loaded = [name for name in ("torch", "timm", "raysel") if name in sys.modules]
print(json.dumps({"logits": logits, "classes": classes, "loaded": loaded}))
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder / "pictures", 10)
    return exported(folder / "pictures", folder / "model", "test_efficientnet")


@pytest.fixture(scope="module")
def converted(out: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model in each layout."""
    folder = tmp_path_factory.mktemp("converted")
    for layout in ("onnx", "torchscript"):
        convert(out.folder, layout, folder / layout)
    return {layout: folder / layout for layout in ("onnx", "torchscript")}


@pytest.mark.parametrize(("layout", "loaded"), [("onnx", []), ("torchscript", ["torch"])])
def test_ten_photographs_are_answered_as_in_validation(out, converted, tmp_path, layout, loaded):
    sources = open_pictures(out.spec.task).sources
    files = [str(sources[int(index)]) for index in out.task.validation.indices]
    assert len(files) == 10
    command = [sys.executable, "-c", ALONE, str(converted[layout]), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found, wanted = json.loads(done.stdout), validated(out).numpy()
    assert found["loaded"] == loaded
    assert found["classes"] == list(out.task.classes)
    np.testing.assert_allclose(found["logits"], wanted, rtol=0, atol=1e-4)
    assert np.argmax(found["logits"], 1).tolist() == wanted.argmax(1).tolist()
    assert altered(converted[layout]) is None


@pytest.mark.slow
def test_its_predict_prints_what_timms_predict_prints(out, converted, tmp_path):
    scene(1, 90, 120).save(tmp_path / "photo.jpg")
    said = [
        subprocess.run(
            [sys.executable, str(folder / "predict.py"), "photo.jpg"],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        ).stdout
        for folder in (out.folder, converted["onnx"])
    ]
    assert said[0] == said[1] and said[0].startswith("photo.jpg: ")


def test_an_onnx_model_says_its_classes_and_how_pictures_are_prepared(out, converted):
    session = onnxruntime.InferenceSession(str(converted["onnx"] / "model.onnx"))
    facts = session.get_modelmeta().custom_metadata_map
    config = json.loads((out.folder / "config.json").read_text(encoding="utf-8"))
    assert json.loads(facts["label_names"]) == list(out.task.classes)
    prepared = json.loads(facts["preprocessing"])
    assert prepared == {name: config["pretrained_cfg"][name] for name in prepared}
    assert {"mean", "std", "input_size", "crop_pct"} <= set(prepared)
    (images,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape[1:]) == ("images", list(prepared["input_size"]))
    assert isinstance(images.shape[0], str) and logits.name == "logits"  # any batch


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit", "mobilenetv3_small_050", "test_convnext"])
def test_other_families_are_converted(tmp_path, name):
    write_pictures(tmp_path / "pictures", 2)
    out = exported(tmp_path / "pictures", tmp_path / "model", name)
    convert(out.folder, "onnx", tmp_path / "onnx")  # which compares the answers


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
@pytest.mark.parametrize("share", [1.0, 0.875, 0.9])
def test_pictures_are_prepared_as_timm_does(tmp_path, mode, size, share):
    data = {
        "input_size": (3, *size),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bicubic",
        "crop_pct": share,
        "crop_mode": mode,
    }
    timms = timm.data.create_transform(**data, is_training=False)
    for number, (width, height) in enumerate([(97, 61), (61, 97), (64, 64), (30, 200), (333, 250)]):
        picture = scene(number, width, height)
        found = predict_converted.transform(picture, data)
        np.testing.assert_allclose(found, timms(picture).numpy(), atol=2e-6)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "lanczos"])
def test_grey_pictures_and_other_interpolations_too(interpolation):
    data = {
        "input_size": (1, 32, 32),
        "mean": (0.5,),
        "std": (0.25,),
        "interpolation": interpolation,
        "crop_pct": 0.9,
        "crop_mode": "center",
    }
    picture = scene(3, 50, 41).convert("L")
    wanted = timm.data.create_transform(**data, is_training=False)(picture).numpy()
    np.testing.assert_allclose(predict_converted.transform(picture, data), wanted, atol=2e-6)


def test_a_model_that_answers_otherwise_is_not_handed_over(out, tmp_path, monkeypatch):
    def of_another(model, inputs, file):
        other = copy.deepcopy(model)
        with torch.no_grad():
            next(other.get_classifier().parameters()).add_(0.01)
        write(other, inputs, file)

    write = converting._write_torchscript
    monkeypatch.setattr(converting, "_write_torchscript", of_another)
    with pytest.raises(OperationalError, match="answers otherwise"):
        convert(out.folder, "torchscript", tmp_path / "model")


def test_raysel_predict_says_how_such_a_model_is_asked(converted, tmp_path, capsys):
    scene(1, 9, 9).save(tmp_path / "photo.jpg")
    folder = converted["onnx"]
    assert main(["predict", str(folder), str(tmp_path / "photo.jpg")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"holds model.onnx: ask it by python {folder}/predict.py PICTURE")


def test_a_package_that_is_missing_is_named(out, tmp_path, monkeypatch):
    monkeypatch.setitem(converting._PACKAGES, "onnx", ("onnx", "no_such_runtime"))
    with pytest.raises(
        UserError, match=r'onnx needs no_such_runtime: pip install "raysel\[onnx\]"'
    ):
        convert(out.folder, "onnx", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_kinds_of_files_are_read_as_by_timms_predict(out, tmp_path):
    for seed, kind in enumerate(k for k in KINDS if k != "large"):
        write_kind(kind, seed, tmp_path / f"{kind}.jpg")
        picture = predict_converted.open_picture(tmp_path / f"{kind}.jpg", out.folder)
        assert isinstance(picture, Image.Image) and picture.mode == "RGB"
