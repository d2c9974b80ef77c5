"""A trial on pictures of the store: the same as on arrays, and resumed bit for bit."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from few_kit import few
from PIL import Image
from trial_kit import (
    CLASSES,
    TinyNet,
    config,
    differences,
    finished,
    learnt,
    trial,
    without_seconds,
)

from raysel.spec.sweep import TaskSpec
from raysel.tasks.auto_augment import auto_augmented
from raysel.tasks.data import Examples, Task
from raysel.tasks.load_task import load_task
from raysel.training.batches import balanced_draws, epoch_batches, to_device
from raysel.training.device_images import DeviceImages, may_live_on
from raysel.training.image_batches import CachedData, LazyBatches, on_device
from raysel.training.loop import TrialData
from raysel.training.source_model import _bytes

CPU = torch.device("cpu")
SPLIT = {"train": 40, "validation": 24, "test": 16}


class ThreeChannels(TinyNet):
    """`TinyNet` for 8x8 pictures in colour."""

    def __init__(self) -> None:
        super().__init__()
        self.stem[0] = torch.nn.Conv2d(3, 4, 3, 2, 1)


def _net() -> ThreeChannels:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ThreeChannels()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / "photos" / f"class{label}").mkdir(parents=True)
        for number in range(40):
            pixels = generator.integers(0, 256, (12, 14, 3), dtype=np.uint8) // 2
            pixels[:, :, label % 3] += 40 * (1 + label // 3)
            Image.fromarray(pixels).save(root / "photos" / f"class{label}" / f"{number}.png")
    return root


def _task(folder: Path, **values) -> Task:
    return load_task(
        TaskSpec.model_validate(
            {
                "data": {"folder": str(folder / "photos")},
                "cache": str(folder / "cache"),
                "image_size": 8,
                "split": SPLIT,
                **values,
            }
        )
    )


def _stored(task: Task, name: str = "train") -> CachedData:
    data = on_device(getattr(task, name), task.mean, task.std, CPU)
    assert isinstance(data, CachedData)
    return data


def _data(task: Task) -> TrialData:
    return TrialData(_stored(task), _stored(task, "validation"), _stored(task, "source_train"))


def test_batches_are_those_of_the_same_pictures_as_arrays(folder):
    task = _task(folder)
    part = task.train
    assert not isinstance(part, Examples)
    pixels = part.centres(np.arange(len(part)))
    images = np.float32(pixels.transpose(0, 3, 1, 2)) / np.float32(255)
    arrays = to_device(Examples(images, part.labels), task.mean, task.std, CPU)
    stored = _stored(task)
    pairs = zip(
        epoch_batches(stored, 16, seed=3, epoch=2),
        epoch_batches(arrays, 16, seed=3, epoch=2),
        strict=True,
    )
    for mine, wanted in pairs:
        torch.testing.assert_close(mine.images, wanted.images, rtol=0, atol=1e-6)
        assert mine.images.dtype == torch.float32
        assert mine.images.is_contiguous()
        torch.testing.assert_close(mine.labels, wanted.labels)


def test_a_few_of_the_examples_are_seen_as_they_were_among_all(folder, monkeypatch):
    whole, index = _stored(_task(folder, augmentation="flip")), torch.tensor([3, 8, 15])
    read = []
    monkeypatch.setattr(CachedData, "part", lambda *_: read.append(1))
    few = whole.only(index)
    monkeypatch.undo()
    assert read == []
    assert few.labels.tolist() == whole.labels[index].tolist()
    for seen in (lambda data: data, lambda data: data.augmented(seed=1, epoch=2)):
        found, wanted = seen(few).part(torch.arange(3)), seen(whole).part(index)
        assert torch.equal(found.images, wanted.images)


def test_evaluation_reads_every_example_once_and_in_order(folder):
    stored = _stored(_task(folder), "validation")
    batches = stored.split(10)
    assert isinstance(batches, LazyBatches)
    assert [len(batch) for batch in batches] == [10, 10, 4]
    assert torch.equal(torch.cat([batch.labels for batch in batches]), stored.labels)
    assert [len(batch) for batch in batches[1:]] == [10, 4]


def test_batches_are_read_when_asked_for_and_not_kept(folder, monkeypatch):
    stored = _stored(_task(folder), "validation")
    asked = []
    real = CachedData.part
    monkeypatch.setattr(
        CachedData, "part", lambda self, i: asked.append(i.tolist()) or real(self, i)
    )
    batches = stored.split(10)
    assert len(batches[:2]) == 2
    assert asked == []
    _ = batches[1]
    assert asked == [[*range(10, 20)]]


@pytest.mark.parametrize("augmentation", ["flip", "random_crop", "random_resized_crop"])
def test_augmentation_is_a_function_of_seed_epoch_and_picture(folder, augmentation):
    stored = _stored(_task(folder, augmentation=augmentation))

    def epoch(seed: int, number: int) -> torch.Tensor:
        return stored.augmented(seed, number).part(slice(None)).images

    assert torch.equal(epoch(1, 1), epoch(1, 1))
    assert not torch.equal(epoch(1, 1), epoch(1, 2))
    assert not torch.equal(epoch(1, 1), epoch(2, 1))
    backwards = torch.arange(len(stored)).flip(0)
    one_by_one = stored.augmented(1, 1).part(backwards).images.flip(0)
    assert torch.equal(one_by_one, epoch(1, 1))


@pytest.mark.parametrize("policy", ["rand_augment", "trivial_augment"])
def test_a_policy_comes_after_the_augmentation_and_on_training_pictures_alone(folder, policy):
    task = _task(folder, augmentation="flip", auto_augment=policy)
    stored, flipped = _stored(task), _stored(_task(folder, augmentation="flip"))
    assert stored.views is None and flipped.views == 2  # nothing of it can be kept
    pixels = stored.examples.augmented(np.arange(6), 1, 2)
    for place, before in enumerate(flipped.examples.augmented(np.arange(6), 1, 2)):
        generator = stored.examples.generator(place, 1, 2)
        generator.random()  # whether it is mirrored
        assert np.array_equal(pixels[place], auto_augmented(policy, before, generator))
    alone = _stored(_task(folder, auto_augment=policy))
    assert not np.array_equal(alone.examples.augmented(np.arange(6), 1, 2), pixels)
    for part in ("validation", "source_train"):
        assert _stored(task, part).examples.auto_augment == "none"
    assert torch.equal(stored.part(slice(None)).images, flipped.part(slice(None)).images)
    ahead = replace(stored, threads=3)
    pairs = zip(epoch_batches(stored, 8, 1, 2), epoch_batches(ahead, 8, 1, 2), strict=True)
    assert all(torch.equal(mine.images, theirs.images) for mine, theirs in pairs)
    assert not may_live_on(torch.device("cuda"), stored.examples)


def test_each_copy_of_a_picture_in_a_balanced_epoch_is_augmented_anew(folder):
    stored = _stored(_task(folder, augmentation="random_crop"))
    labels = torch.tensor([0] * 39 + [1])  # half of all draws are the last picture
    batches = list(epoch_batches(stored, 8, 1, 2, labels))
    rare = balanced_draws(labels, 1, 2) == 39
    pixels = torch.cat([batch.images for batch in batches])
    assert torch.equal(
        torch.cat([b.labels for b in batches]), stored.labels[balanced_draws(labels, 1, 2)]
    )
    looks = {image.numpy().tobytes() for image in pixels[rare]}
    assert int(rare.sum()) > 10 and len(looks) > 5
    first = int(rare.nonzero()[0])
    alone = stored.augmented(1, 2).part(torch.tensor([39])).images
    assert torch.equal(pixels[first : first + 1], alone)  # the first is as in any epoch
    here = list(epoch_batches(DeviceImages.of(stored), 8, 1, 2, labels))
    assert torch.equal(torch.cat([batch.images for batch in here]), pixels)


def test_augmentation_does_not_depend_on_the_split(folder):
    few = _stored(_task(folder, augmentation="random_resized_crop"))
    split = {**SPLIT, "train": 60}
    many = _stored(_task(folder, augmentation="random_resized_crop", split=split))
    places = {int(index): place for place, index in enumerate(many.examples.indices)}
    common = [(i, places[int(x)]) for i, x in enumerate(few.examples.indices) if int(x) in places]
    assert len(common) > 20
    mine, theirs = (torch.tensor(column) for column in zip(*common, strict=True))
    assert torch.equal(
        few.augmented(5, 1).part(mine).images, many.augmented(5, 1).part(theirs).images
    )


@pytest.mark.parametrize("threads", few(3, 1))
def test_batches_that_are_read_ahead_are_the_same(folder, threads):
    stored = _stored(_task(folder, augmentation="random_resized_crop"))
    ahead = replace(stored, threads=threads)
    pairs = zip(epoch_batches(stored, 8, 1, 2), epoch_batches(ahead, 8, 1, 2), strict=True)
    whole = zip(stored.split(10), ahead.split(10), strict=True)
    found = list(pairs)
    assert len(found) == 5
    for mine, theirs in [*found, *whole]:
        assert torch.equal(mine.images, theirs.images)
        assert torch.equal(mine.labels, theirs.labels)


def test_a_trial_that_reads_ahead_is_the_same_trial(folder):
    task = _task(folder, augmentation="random_crop")
    ended = []
    for threads in (0, 2):
        parts = (
            on_device(p, task.mean, task.std, CPU, threads) for p in (task.train, task.validation)
        )
        run = trial(config(epochs=2), model=_net(), data=TrialData(*parts))
        ended.append(([*map(without_seconds, finished(run))], learnt(run)))
    assert ended[0][0] == ended[1][0]
    assert differences(ended[0][1], ended[1][1]) == []


def test_training_augments_and_measurement_does_not(folder):
    stored = _stored(_task(folder, augmentation="random_resized_crop"))
    plain = _stored(_task(folder, augmentation="random_resized_crop"), "train").part(slice(None))
    seen = torch.cat([b.images for b in epoch_batches(stored, 40, seed=0, epoch=1)])
    assert not any(torch.equal(a, b) for a in seen[:3] for b in plain.images)
    run = trial(config(), model=_net(), data=_data(_task(folder, augmentation="flip")))
    measured = torch.cat([batch.images for batch in run.probe.batches("target")])
    plain = _stored(_task(folder, augmentation="flip")).part(slice(None)).images
    assert sorted(map(_hash, measured)) == sorted(map(_hash, plain))


def _hash(image: torch.Tensor) -> int:
    return hash(image.numpy().tobytes())


@pytest.mark.parametrize("strategy", few("bvg_ls", "full", "auto_rgn"))
def test_a_trial_resumed_at_any_epoch_ends_bit_identical(folder, strategy):
    task = _task(folder, augmentation="random_resized_crop")
    chosen = config(strategy, epochs=3)
    whole = trial(chosen, model=_net(), data=_data(task))
    rows = finished(whole)
    for stop in (1, 2):
        first = trial(chosen, model=_net(), data=_data(task))
        for _ in range(stop):
            first.run_epoch()
        state = pickle.loads(pickle.dumps(first.state_dict()))
        second = trial(chosen, model=_net(), data=_data(pickle.loads(pickle.dumps(task))))
        second.load_state_dict(copy.deepcopy(state))
        assert [*map(without_seconds, finished(second))] == [*map(without_seconds, rows[stop:])]
        assert differences(learnt(second), learnt(whole)) == []


def test_a_trial_on_pictures_learns(folder):
    run = trial(config(epochs=8), model=_net(), data=_data(_task(folder)))
    assert finished(run)[-1]["val/error"] < 0.4  # chance is 0.75


def test_a_part_of_another_node_gives_the_same_batches(folder):
    task = _task(folder)
    sent = pickle.loads(pickle.dumps(task.train))
    here, there = _stored(task), _stored(replace(task, train=sent))
    assert torch.equal(here.part(slice(None)).images, there.part(slice(None)).images)


def test_a_kept_source_model_follows_pictures_labels_and_augmentation(folder):
    one = _bytes(_task(folder).source_train)
    assert _bytes(_task(folder).source_train) == one
    part = _task(folder).source_train
    assert part is not None
    others = [
        _task(folder, augmentation="flip").source_train,
        _task(folder, image_size=9).source_train,
        _task(folder, split={**SPLIT, "seed": 1}).source_train,
        replace(part, labels=part.labels[::-1].copy()),
    ]
    assert len({one, *map(_bytes, others)}) == 5
