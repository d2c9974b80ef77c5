"""Pictures on the device: the batches of those that are read one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from few_kit import several
from pictures_kit import photo
from PIL import Image
from test_image_batches import CPU, _net, _stored, _task, folder  # noqa: F401  (a fixture)
from trial_kit import config, differences, finished, learnt, trial, without_seconds

from raysel.training import device_images
from raysel.training.batches import epoch_batches
from raysel.training.device_images import DeviceImages, bytes_on_device
from raysel.training.image_batches import CachedData
from raysel.training.loop import TrialData
from raysel.training.resized_crops import resized_crops

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
    "box": Image.Resampling.BOX,
}


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [16, 60])
def test_resized_crops_are_pillows(interpolation, size):
    sizes = [(40, 30), (50, 44), (33, 44), (50, 30)]
    boxes = [(0, 0, 40, 30), (3, 5, 47, 17), (10, 0, 13, 44), (20, 11, 41, 30)]
    pictures = torch.zeros(len(sizes), 44, 50, 3, dtype=torch.uint8)
    expected = []
    for place, ((width, height), box) in enumerate(zip(sizes, boxes, strict=True)):
        image = photo(width, height, place)
        pictures[place, :height, :width] = torch.from_numpy(np.array(image))
        cut = image.crop(box).resize((size, size), FILTERS[interpolation])
        expected.append(np.asarray(cut, np.int16))
    found = resized_crops(pictures, torch.tensor(boxes), size, interpolation)
    off = np.abs(found.numpy().astype(np.int16) - np.stack(expected))
    assert found.shape == (4, size, size, 3) and found.dtype == torch.uint8
    for (left, top, right, bottom), own in zip(boxes, off, strict=True):
        if bottom - top > max(size, right - left):  # Pillow may go down first
            assert own.mean() < 0.5 and own.max() <= 5
        else:
            assert own.mean() < 0.1 and own.max() <= 1


def _grey_levels(data: CachedData, images: torch.Tensor) -> torch.Tensor:
    return (images * data.std + data.mean) * 255


@pytest.mark.parametrize("augmentation", ["none", "flip", "random_crop", "random_resized_crop"])
def test_batches_are_those_that_are_read_one_by_one(folder, augmentation):  # noqa: F811
    stored = _stored(_task(folder, augmentation=augmentation))
    here = DeviceImages.of(stored)
    for epoch in (1, 2):
        pairs = zip(
            epoch_batches(stored, 16, 3, epoch), epoch_batches(here, 16, 3, epoch), strict=True
        )
        for mine, theirs in pairs:
            assert torch.equal(mine.labels, theirs.labels)
            if augmentation != "random_resized_crop":
                assert torch.equal(mine.images, theirs.images)
                continue
            off = _grey_levels(stored, mine.images) - _grey_levels(stored, theirs.images)
            assert off.abs().mean() < 0.1 and off.abs().max() < 1.01
    for mine, theirs in zip(stored.split(10), here.split(10), strict=True):
        assert torch.equal(mine.images, theirs.images)


def test_a_few_of_the_examples_are_seen_as_they_were_among_all(folder):  # noqa: F811
    here = DeviceImages.of(_stored(_task(folder, augmentation="random_resized_crop")))
    index = torch.tensor([3, 8, 15])
    few = here.only(index)
    assert len(few) == 3 and few.labels.tolist() == here.labels[index].tolist()
    found, whole = (data.augmented(1, 2) for data in (few, here))
    assert torch.equal(found.part(slice(None)).images, whole.part(index).images)


@pytest.mark.parametrize("augmentation", several(1, ["random_crop", "flip"]))
def test_a_trial_on_them_is_the_same_trial(folder, augmentation):  # noqa: F811
    task = _task(folder, augmentation=augmentation)
    stored = [_stored(task), _stored(task, "validation")]
    ended = []
    for parts in (stored, [DeviceImages.of(part) for part in stored]):
        run = trial(config(epochs=2), model=_net(), data=TrialData(*parts))
        ended.append(([*map(without_seconds, finished(run))], learnt(run)))
    assert ended[0][0] == ended[1][0]
    assert differences(ended[0][1], ended[1][1]) == []


def test_no_picture_is_read_in_an_epoch(folder, monkeypatch):  # noqa: F811
    stored = _stored(_task(folder, augmentation="random_resized_crop"))
    here = DeviceImages.of(stored)
    for name in ("centres", "augmented"):
        monkeypatch.setattr(type(stored.examples), name, lambda *_: pytest.fail("read"))
    assert sum(len(batch) for batch in epoch_batches(here, 16, 0, 1)) == len(stored)
    assert sum(len(batch) for batch in here.split(10)) == len(stored)


@pytest.mark.parametrize(
    ("augmentation", "each"), [("flip", 8 * 8 * 3), ("random_resized_crop", (8 * 8 + 8 * 9) * 3)]
)
def test_a_small_set_lives_there_and_a_large_one_does_not(folder, augmentation, each, monkeypatch):  # noqa: F811
    examples = _stored(_task(folder, augmentation=augmentation)).examples
    size = bytes_on_device(examples)
    assert size == each * len(examples)
    for free, total, fits in [
        (2 * size, 10 * size, True),
        (2 * size, 10 * size - 1, False),
        (2 * size - 1, 100 * size, False),
    ]:
        monkeypatch.setattr(
            device_images.torch.cuda, "mem_get_info", lambda _, f=free, t=total: (f, t)
        )
        assert device_images.may_live_on(torch.device("cuda"), examples) is fits
        assert not device_images.may_live_on(CPU, examples)
    nearest = replace(examples.geometry.input, interpolation="nearest")
    other = replace(examples, geometry=replace(examples.geometry, input=nearest))
    monkeypatch.setattr(device_images.torch.cuda, "mem_get_info", lambda _: (2**40, 2**40))
    assert device_images.may_live_on(torch.device("cuda"), examples)
    assert not device_images.may_live_on(torch.device("cuda"), other)


def test_they_are_kept_as_bytes(folder):  # noqa: F811
    here = DeviceImages.of(_stored(_task(folder, augmentation="random_resized_crop")))
    held = [t for t in (here.centres, here.whole) if t is not None]
    assert all(tensor.dtype == torch.uint8 for tensor in held)
    assert sum(tensor.numel() for tensor in held) == bytes_on_device(here.cached.examples)
    assert Path(here.cached.examples.cache).is_dir()
