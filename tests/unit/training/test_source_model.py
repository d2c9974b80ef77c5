"""The source model: trained once, kept by everything that determines it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rights_kit import refused
from source_kit import BLUEPRINT, TASK, THREADS, how
from source_kit import examples as _examples

import raysel
from raysel.common.errors import UserError
from raysel.models import timm
from raysel.models.build import ModelConfig, build
from raysel.models.layers import partition_of
from raysel.spec.source import SourceSpec
from raysel.tasks.data import Examples, SealedTest, Task
from raysel.training import source_model as source
from raysel.training.source_model import (
    SourceModel,
    cached_source_model,
    source_model,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[SourceModel, Path]:
    before = torch.get_num_threads()
    cache = tmp_path_factory.mktemp("cache") / "deeper"
    model = source_model(TASK, BLUEPRINT, how(), cache)
    torch.set_num_threads(before)
    return model, cache


def _kept(cache: Path, task: Task = TASK, model_config: ModelConfig = BLUEPRINT, **given: object):
    return cached_source_model(task, model_config, how(**given), cache)


def test_it_learns_the_source_task(trained):
    assert trained[0].accuracy > 0.9
    assert trained[0].seconds > 0


def test_its_weights_fill_the_model_and_are_as_good_there(trained):
    model = build(BLUEPRINT, seed=5)
    model.load_state_dict(trained[0].weights)
    part = TASK.source_validation
    assert part is not None
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy((part.images - 0.5) / 0.25))
    accuracy = (logits.argmax(1).numpy() == part.labels).mean()
    assert accuracy == pytest.approx(trained[0].accuracy)


def test_it_is_kept_and_found_again(trained):
    model, cache = trained
    kept = _kept(cache)
    assert kept is not None
    assert kept.accuracy == model.accuracy and kept.seconds == 0
    assert kept.weights.keys() == model.weights.keys()
    assert all(torch.equal(kept.weights[name], w) for name, w in model.weights.items())
    assert len(list(cache.iterdir())) == 1


def test_tied_weights_are_kept(tmp_path):
    weight = torch.ones(3, 3)
    tied = SourceModel({"a": weight, "b": weight, "c": weight.T}, 0.5, 1.0)
    source.write_source_model(tied, tmp_path / "tied.safetensors")
    kept = source.read_source_model(tmp_path / "tied.safetensors")
    assert kept is not None and kept.weights.keys() == {"a", "b", "c"}
    assert all(torch.equal(w, weight) for w in kept.weights.values())


def test_a_flipped_bit_is_no_weight(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert _kept(tmp_path / "cache") is None


@pytest.mark.parametrize("place", ["a file", "not ours", "below what is not ours"])
def test_a_cache_that_takes_no_file_costs_no_trained_model(trained, tmp_path, place):
    """Another user's storage, say, in which a trial is reproduced."""
    cache, barred = tmp_path / ".cache", tmp_path
    if place == "a file":
        cache.write_text("x")
    elif place == "not ours":
        cache.mkdir()
        barred = cache
    with refused(barred, 0o500 if place != "a file" else 0o700):
        source.cache_source_model(trained[0], TASK, BLUEPRINT, how(), cache)
    assert not cache.is_dir() or not list(cache.iterdir())


def test_a_full_disk_keeps_none_and_the_model_is_there(trained, tmp_path, monkeypatch):
    def full(_weights, file, **_):
        Path(file).touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("safetensors.torch.save_file", full)
    source.cache_source_model(trained[0], TASK, BLUEPRINT, how(), tmp_path / "cache")
    assert not [*(tmp_path / "cache").iterdir()]


def test_trained_again_it_is_the_same_bit_for_bit(trained, tmp_path):
    before = torch.get_num_threads()
    torch.manual_seed(77)
    again = source_model(TASK, BLUEPRINT, how(), tmp_path)
    torch.set_num_threads(before)
    assert again.accuracy == trained[0].accuracy
    assert all(torch.equal(again.weights[name], w) for name, w in trained[0].weights.items())


def test_whatever_determines_it_leads_to_another(trained, monkeypatch):
    cache = trained[1]
    assert TASK.source_train is not None
    changed = Examples(TASK.source_train.images + 0.001, TASK.source_train.labels)
    flipped = Examples(TASK.source_train.images, TASK.source_train.labels[::-1].copy())
    assert _kept(cache, task=replace(TASK, source_train=changed)) is None
    assert _kept(cache, task=replace(TASK, source_train=flipped)) is None
    assert _kept(cache, task=replace(TASK, source_validation=_examples(30, 8))) is None
    assert _kept(cache, task=replace(TASK, mean=(0.4,))) is None
    assert _kept(cache, task=replace(TASK, std=(0.3,))) is None
    assert _kept(cache, model_config=replace(BLUEPRINT, name="test_convnext")) is None
    assert _kept(cache, model_config=replace(BLUEPRINT, classes=4)) is None
    assert _kept(cache, seed=1) is None
    assert _kept(cache, threads=THREADS + 1) is None
    with monkeypatch.context() as patch:
        patch.setattr(raysel, "__version__", "999")
        assert _kept(cache) is None
    for given in (
        *({"epochs": 16}, {"batch_size": 32}, {"optimizer": "sgd"}, {"learning_rate": 0.1}),
        *({"schedule": "constant"}, {"weight_decay": 0.0}, {"label_smoothing": 0.1}),
        {"parameters": {"probe_epochs": 1}},
    ):
        assert _kept(cache, **given) is None, given
    layers = partition_of("test_resnet", "coarse", 3, channels=1, image_size=(8, 8))
    by_layers = replace(how(strategy="lp_ft"), partition=layers)
    assert cached_source_model(TASK, BLUEPRINT, by_layers, cache) is None
    begun = {n: t.numpy() for n, t in build(BLUEPRINT, 3).state_dict().items()}
    assert cached_source_model(TASK, BLUEPRINT, replace(how(), initial=begun), cache) is None


def test_a_gate_does_not_determine_it(trained):
    assert _kept(trained[1], gate=0.5) is not None


def test_without_a_word_about_it_the_models_of_before_are_found(trained):
    """Trained as it always was, and kept under the name that it always had."""
    settings = {
        **{"epochs": 15, "batch_size": 64, "optimizer": "adamw", "learning_rate": 2e-3},
        **{"momentum": 0.9, "weight_decay": 1e-2, "schedule": "cosine", "warmup_epochs": 1.0},
        **{"batch_norm": "train", "precision": "float32", "clip_norm": None},
        **{"gradient_accumulation_steps": 1, "deterministic": False, "shots": None},
    }
    facts = {
        "blueprint": {k: v for k, v in asdict(BLUEPRINT).items() if k != "adapter"},
        "settings": settings,
        "normalisation": [TASK.mean, TASK.std],
        "seed": 0,
        "threads": THREADS,
        "versions": [raysel.__version__, torch.__version__, timm.__version__],
        "cuda": torch.cuda.is_available(),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for part in (TASK.source_train, TASK.source_validation):
        for array in (part.images, part.labels):
            digest.update(hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest())
    assert [file.stem for file in trained[1].iterdir()] == [digest.hexdigest()[:24]]


def test_it_is_trained_as_the_file_says(tmp_path, monkeypatch):
    seen = []

    class Seen(source.FineTuning):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            seen.append(self)

    monkeypatch.setattr(source, "FineTuning", Seen)
    layers = partition_of("test_resnet", "coarse", 3, channels=1, image_size=(8, 8))
    given = {"epochs": 3, "batch_size": 32, "optimizer": "sgd", "learning_rate": 0.05}
    given |= {"strategy": "lp_ft", "parameters": {"probe_epochs": 1, "probe_rate": 4.0}}
    chosen = how(**given, label_smoothing=0.1)
    before = build(BLUEPRINT, 5).state_dict()
    begun = {name: tensor.numpy() for name, tensor in before.items() if not name.startswith("fc")}
    threads = torch.get_num_threads()
    source_model(TASK, BLUEPRINT, replace(chosen, partition=layers, initial=begun), tmp_path)
    torch.set_num_threads(threads)
    (tuning,) = seen
    assert (tuning.settings.epochs, tuning.settings.batch_size) == (3, 32)
    assert (tuning.settings.optimizer, tuning.settings.learning_rate) == ("sgd", 0.05)
    assert tuning.settings.label_smoothing == 0.1
    assert tuning.strategy.values == {"probe_epochs": 1, "probe_rate": 4.0}
    assert tuning.strategy.name == "lp_ft" and tuning.partition.names == layers.names
    assert tuning.probe.fresh_head  # the weights to begin with have no classifier


def test_what_does_not_determine_it_leads_to_the_same(trained):
    other_target = replace(
        TASK, train=_examples(9, 11), validation=_examples(9, 12), test=SealedTest(_examples(9, 13))
    )
    assert _kept(trained[1], task=other_target) is not None


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage"])
def test_a_damaged_file_is_none(trained, tmp_path, damage):
    (path,) = trained[1].iterdir()
    raw = path.read_bytes()
    content = {"cut": raw[: len(raw) // 2], "empty": b"", "garbage": b"x" * 1000}[damage]
    (tmp_path / path.name).write_bytes(content)
    assert _kept(tmp_path) is None


def test_there_is_none_before_it_was_trained(tmp_path):
    assert _kept(tmp_path / "nowhere") is None


def test_its_training_reports_every_step(tmp_path):
    before = torch.get_num_threads()
    reported: list[tuple[int, int]] = []
    source_model(
        TASK, BLUEPRINT, how(1), tmp_path, lambda done, total: reported.append((done, total))
    )
    torch.set_num_threads(before)
    total = SourceSpec().epochs  # 60 examples are one batch of 64
    assert reported == [(step, total) for step in range(1, total + 1)]


def test_a_clock_reports_the_time_left_not_too_often():
    now = [0.0]
    clock = source.TrainingClock(20.0, lambda: now[0])
    start = "training on the source part: step"
    assert clock.line(10, 1000) == f"{start} 10 of 1,000 (1%)"
    now[0] = 19.0
    assert clock.line(100, 1000) is None
    now[0] = 60.0  # 300 steps in 60 s: 690 are left
    assert clock.line(310, 1000) == f"{start} 310 of 1,000 (31%), about 2:18 left"
    now[0] = 61.0
    assert clock.line(1000, 1000) == f"{start} 1,000 of 1,000 (100%)"


@pytest.mark.parametrize("rate", [1e9, 1e20])
def test_one_that_diverges_is_refused_by_its_rate(tmp_path, rate):
    given = how(optimizer="sgd", learning_rate=rate, epochs=3)
    with pytest.raises(UserError) as caught:
        source_model(TASK, BLUEPRINT, given, tmp_path)
    (problem,) = caught.value.problems
    assert problem.path == "source.learning_rate"
    assert problem.message.startswith(f"{rate:g} is too large: the training of the source model")
