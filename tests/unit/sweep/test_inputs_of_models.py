"""Inputs of a sweep of several models on pictures: each has its own size, all the same split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from raysel.spec.reader import parse
from raysel.sweep.inputs import all_tested, read_inputs
from raysel.training.trial_worker import TrialWorker

FILE = """
name: sizes
task: {data: {folder: FOLDER}, cache: CACHE, split: {train: 8, validation: 6, test: 6}}
model: {name: {categorical: [test_resnet, resnet10t, test_resnet.r160_in1k]}, weights: pretrained}
strategies: {full: , linear_probe: }
training: {epochs: 1}
confirm: {splits: 2}
"""


def write_classes(folder) -> None:
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        (folder / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def side(data) -> int:
    """Of the pictures that a worker has on its device."""
    return int(data.part(torch.tensor([0])).images.shape[-1])


def test_each_model_has_pictures_of_its_size_and_all_have_the_same_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "pictures")
    text = FILE.replace("FOLDER", "pictures").replace("CACHE", str(tmp_path / "cache"))
    found = read_inputs(parse(text), (), splits=2)
    resnet, larger, alike = found.by_model.values()
    # timm: resnet10t takes 176 pixels, test_resnet 160, whatever its weights
    assert resnet.task.image_size == (160, 160) and larger.task.image_size == (176, 176)
    assert resnet.task.mean != larger.task.mean
    assert alike.task is resnet.task  # decoded and sent once
    for part in ("train", "validation"):
        assert np.array_equal(getattr(resnet.task, part).labels, getattr(larger.task, part).labels)
    assert resnet.task.record == larger.task.record
    assert (found.task, found.layers) == (resnet.task, resnet.layers)
    assert found.space.models["full-resnet10t"] == "resnet10t"
    assert found.space.costs["full-resnet10t"] > found.space.costs["full-test_resnet"] > 1e6

    weighed = found.mapped(lambda own: replace(own, weights={}))
    with all_tested(weighed.shared(tmp_path), weighed) as tested:
        assert [one.test is not None for one in tested.by_model.values()] == [True] * 3
        assert tested.of_model("resnet10t").mean == larger.task.mean
        assert tested.of_model("test_resnet").test is tested.of_model("test_resnet.r160_in1k").test
        worker = TrialWorker(tested)
        for model, pixels in (("test_resnet", 160), ("resnet10t", 176), ("test_resnet", 160)):
            config = found.space.first_configuration(f"full-{model}")
            worker.take(config)
            assert worker.shared.model_config.name == model
            assert side(worker.data(config).train) == side(worker.test) == pixels
