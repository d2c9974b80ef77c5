"""A trial whose frozen layers are read: the same trial as without, and as itself run again."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_kit import few, several
from PIL import Image
from torch import nn
from trial_kit import CLASSES, batch, config, differences, finished, learnt, tiny, trial

from raysel.models import timm
from raysel.models.layers import partition
from raysel.spec.sweep import TaskSpec
from raysel.tasks.load_task import load_task
from raysel.training import feature_files, features
from raysel.training.features import READ, SECONDS, FeatureCache
from raysel.training.image_batches import on_device
from raysel.training.loop import FineTuning, TrialData

MODELS = [
    ("test_resnet", 32),
    ("test_vit", 160),
    ("test_convnext", 64),
    ("test_efficientnet", 64),
]
METRICS = ("train/loss", "val/loss", "val/error", "val/balanced_error")


def _model(name: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return timm.create_model(name, num_classes=CLASSES)


def _data(size: int) -> TrialData:
    parts = (batch(n, s, size, channels=3) for n, s in ((40, 1), (24, 2)))
    return TrialData(*parts)


def _cache(folder: Path) -> FeatureCache:
    return FeatureCache(folder / "features", torch.get_num_threads())


def _cuts(model: nn.Module) -> list[dict[str, Any]]:
    """A block-wise arm for each layer but the first, and linear probing."""
    names = partition(model).names[1:]
    return [{"strategy": "linear_probe"}] + [
        {"strategy": "blockwise", "parameters": {"block": name}} for name in names
    ]


@pytest.mark.parametrize(("name", "size"), several(1, MODELS))
def test_every_cut_gives_the_trial_that_there_is_without(tmp_path, monkeypatch, name, size):
    data = _data(size)
    monkeypatch.setitem(features.ROW_SHARE, "cpu", 100.0)  # the lowest cuts too
    for arm in _cuts(_model(name)):
        chosen = config(**arm, batch_norm="frozen_eval", epochs=2, learning_rate=0.01)
        plain = finished(trial(chosen, _model(name), data))
        runs = [trial(chosen, _model(name), data, features=_cache(tmp_path)) for _ in range(2)]
        stored, again = map(finished, runs)
        for mine, other, theirs in zip(stored, again, plain, strict=True):
            assert mine[READ] == len(data.train) + len(data.validation)
            for metric in METRICS:
                assert mine[metric] == pytest.approx(theirs[metric], abs=1e-5), (arm, metric)
                assert mine[metric] == other[metric], (arm, metric)
        assert differences(learnt(runs[0]), learnt(runs[1])) == []


def test_trials_with_the_same_frozen_layers_share_their_output(tmp_path, monkeypatch):
    made = []
    real = feature_files._build
    monkeypatch.setattr(feature_files, "_build", lambda *a: made.append(1) or real(*a))
    data = _data(32)
    head = partition(_model("test_resnet")).names[-1]
    for seed, arm in enumerate([{"strategy": "linear_probe"}] * 2 + [{"strategy": "suffix"}] * 2):
        chosen = config(
            **arm,
            parameters={"layers": 1} if seed > 1 else {},
            seed=seed,
            batch_norm="eval",
            epochs=1,
        )
        run = trial(chosen, _model("test_resnet"), data, features=_cache(tmp_path))
        assert READ in finished(run)[0]
    assert head == "head"
    assert len(made) == 2  # training part and validation part


def test_a_cut_is_checked_once_a_worker_for_what_moves(tmp_path, monkeypatch):
    checked = []
    real = features.checked_prefix
    monkeypatch.setattr(features, "checked_prefix", lambda *a: checked.append(1) or real(*a))
    cache, model, data = _cache(tmp_path), _model("test_resnet"), _data(32)
    rows = []
    for arm in ("linear_probe", "linear_probe", "suffix", "linear_probe"):
        chosen = config(arm, {"layers": 2} if arm == "suffix" else {}, batch_norm="eval", epochs=1)
        model.load_state_dict(_model("test_resnet").state_dict())
        rows.append(finished(trial(chosen, model, data, features=cache))[0])
    assert len(checked) == 2
    assert rows[0]["val/loss"] == rows[1]["val/loss"] == rows[3]["val/loss"]
    assert all(READ in row for row in rows)


def test_a_moved_weight_or_another_picture_makes_another_file(tmp_path):
    chosen = config("linear_probe", batch_norm="eval", epochs=1)

    def files(model: nn.Module, data: TrialData) -> int:
        finished(trial(chosen, model, data, features=_cache(tmp_path)))
        return sum(path.is_dir() for path in (tmp_path / "features").iterdir())

    data = _data(32)
    assert files(_model("test_resnet"), data) == 2
    assert files(_model("test_resnet"), data) == 2
    other = _model("test_resnet")
    with torch.no_grad():
        next(other.parameters())[0, 0, 0, 0] += 1e-3
    assert files(other, data) == 4
    images = data.train.images.clone()
    images[3, 0, 0, 0] += 1e-3
    changed = TrialData(type(data.train)(images, data.train.labels), data.validation)
    assert files(_model("test_resnet"), changed) == 5
    norm = _model("test_resnet")
    next(b for n, b in norm.named_buffers() if n.endswith("running_mean"))[0] += 1e-3
    assert files(norm, data) == 7


def test_the_classifiers_own_weights_make_no_other_file(tmp_path):
    chosen, data = config("linear_probe", batch_norm="eval", epochs=1), _data(32)
    for seed in range(2):
        model = _model("test_resnet")
        torch.nn.init.normal_(model.get_classifier().weight, std=0.1 * (1 + seed))
        finished(trial(chosen, model, data, features=_cache(tmp_path)))
    assert sum(path.is_dir() for path in (tmp_path / "features").iterdir()) == 2


@pytest.mark.parametrize("strategy", few("linear_probe", "suffix"))
def test_a_trial_resumed_at_any_epoch_ends_bit_identical(tmp_path, strategy):
    chosen, data = config(strategy, batch_norm="frozen_eval"), _data(32)

    def begun() -> FineTuning:
        return trial(chosen, _model("test_resnet"), data, features=_cache(tmp_path))

    whole = begun()
    finished(whole)
    for stop in (1, 2):
        first = begun()
        for _ in range(stop):
            first.run_epoch()
        second = begun()
        second.load_state_dict(copy.deepcopy(pickle.loads(pickle.dumps(first.state_dict()))))
        finished(second)
        assert differences(learnt(second), learnt(whole)) == []


@pytest.mark.parametrize(
    ("arm", "why"),
    [
        ({"strategy": "full"}, "everything moves"),
        ({"strategy": "linear_probe", "batch_norm": "train"}, "batch statistics"),
    ],
)
def test_trials_that_cannot_use_them_are_as_before_and_say_nothing(tmp_path, arm, why):
    chosen, data, cache = config(**{"epochs": 2, **arm}), _data(32), _cache(tmp_path)
    plain, stored = (
        trial(chosen, _model("test_resnet"), data, features=features) for features in (None, cache)
    )
    for mine, theirs in zip(finished(stored), finished(plain), strict=True):
        assert mine.keys() == theirs.keys()
        assert [mine[m] for m in METRICS] == [theirs[m] for m in METRICS]
    assert differences(learnt(stored), learnt(plain)) == []
    assert cache.take_notes() == [] and not (tmp_path / "features").exists(), why


def test_output_that_is_large_for_its_picture_is_not_stored(tmp_path, monkeypatch):
    name = partition(_model("test_resnet")).names[1]
    chosen = config("blockwise", {"block": name}, batch_norm="eval", epochs=1)

    def row(share: float) -> dict[str, float]:
        monkeypatch.setitem(features.ROW_SHARE, "cpu", share)
        return finished(trial(chosen, _model("test_resnet"), _data(32), features=_cache(tmp_path)))[
            0
        ]

    assert READ not in row(0.1) and not (tmp_path / "features").exists()
    assert READ in row(10.0)


def test_without_room_the_trial_is_as_before_and_a_note_says_why_once(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "MOST_BYTES", 10)
    chosen, data, cache = config("linear_probe", batch_norm="eval"), _data(32), _cache(tmp_path)
    plain = finished(trial(chosen, _model("test_resnet"), data))
    stored = finished(trial(chosen, _model("test_resnet"), data, features=cache))
    assert [[row[m] for m in METRICS] for row in stored] == [
        [row[m] for m in METRICS] for row in plain
    ]
    assert all(READ not in row for row in stored)
    (note,) = cache.take_notes()
    assert note.startswith("frozen layers are computed in every epoch: ")
    finished(trial(chosen, _model("test_resnet"), data, features=cache))
    assert cache.take_notes() == []


class _ReadsPictures(type(tiny())):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) + images.mean()


def test_a_model_that_cannot_be_cut_is_noted(tmp_path):
    cache = _cache(tmp_path)
    run = trial(
        config("linear_probe", epochs=1, batch_norm="eval"), _ReadsPictures(), features=cache
    )
    assert READ not in finished(run)[0]
    (note,) = cache.take_notes()
    assert "not those of the whole model" in note


def test_the_time_that_they_took_is_a_metric(tmp_path):
    chosen = config("linear_probe", batch_norm="eval", epochs=2)
    rows = finished(trial(chosen, _model("test_resnet"), _data(32), features=_cache(tmp_path)))
    assert 0 < rows[0][SECONDS] < rows[0]["cost/seconds"]
    assert rows[1][SECONDS] == 0


# --- pictures -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / "photos" / f"class{label}").mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(0, 256, (40, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "photos" / f"class{label}" / f"{number}.png")
    return root


def _pictures(root: Path, augmentation: str) -> TrialData:
    task = load_task(
        TaskSpec.model_validate(
            {
                "data": {"folder": str(root / "photos")},
                "cache": str(root / "cache"),
                "image_size": 32,
                "split": {"train": 40, "validation": 24, "test": 16},
                "augmentation": augmentation,
            }
        )
    )
    device = torch.device("cpu")
    return TrialData(
        *(on_device(part, task.mean, task.std, device) for part in (task.train, task.validation))
    )


@pytest.mark.parametrize(
    ("augmentation", "read"), several(2, [("none", 64), ("flip", 64), ("random_resized_crop", 24)])
)
def test_pictures_are_read_as_they_are_or_mirrored(tmp_path, photos, augmentation, read):
    data = _pictures(photos, augmentation)
    chosen = config("linear_probe", batch_norm="eval")
    plain = finished(trial(chosen, _model("test_resnet"), data))
    stored = finished(trial(chosen, _model("test_resnet"), data, features=_cache(tmp_path)))
    for mine, theirs in zip(stored, plain, strict=True):
        assert mine[READ] == read
        for metric in METRICS:
            assert mine[metric] == pytest.approx(theirs[metric], abs=1e-5), metric


def test_pictures_are_not_read_where_their_features_are(tmp_path, photos, monkeypatch):
    data, chosen = _pictures(photos, "flip"), config("linear_probe", batch_norm="eval", epochs=2)
    cache = _cache(tmp_path)
    finished(trial(chosen, _model("test_resnet"), data, features=cache))
    examples = type(data.train.examples)
    monkeypatch.setattr(examples, "augmented", lambda *_: pytest.fail("augmented"))
    centres = examples.centres
    read = []
    monkeypatch.setattr(examples, "centres", lambda self, w: read.extend(w) or centres(self, w))
    finished(trial(chosen, _model("test_resnet"), data, features=cache))
    assert len(read) == 1  # its shape


def test_a_copy_of_a_picture_is_read_in_the_view_that_is_drawn_for_it():
    class File:
        def read(self, rows: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(rows).float()

    class Images:
        labels = torch.arange(4)

        def __len__(self) -> int:
            return 4

        def mirrored(self, which: np.ndarray, seed: int, epoch: int) -> np.ndarray:
            return which >= 4  # every further copy

    data: Any = Images()
    file: Any = File()
    stored = features.FeatureData(data, file, 2, lambda rows: None, (0, 1))
    (found,) = stored.batches([torch.tensor([1, 3])], [torch.tensor([1, 7])])
    assert found.features.tolist() == [2, 7] and found.labels.tolist() == [1, 3]
