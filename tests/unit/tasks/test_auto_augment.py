"""RandAugment and TrivialAugment, against torchvision's own classes on the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from raysel.common.torchvision_compat import ensure_importable
from raysel.tasks.auto_augment import auto_augmented, rand_augment, trivial_augment

ensure_importable()
from torchvision.transforms import RandAugment, TrivialAugmentWide  # noqa: E402

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
PAIRS = {
    "rand_augment": (rand_augment, RandAugment()),
    "trivial_augment": (trivial_augment, TrivialAugmentWide()),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pictures_are_torchvisions_for_the_same_seed(name):
    mine, torchvisions = PAIRS[name]
    image, seen = Image.fromarray(PIXELS), set()
    for seed in range(150):
        found = np.asarray(mine(image, torch.Generator().manual_seed(seed)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            wanted = np.asarray(torchvisions(image))
        assert np.array_equal(found, wanted), seed
        seen.add(found.tobytes())
    assert len(seen) > 60


@pytest.mark.parametrize("name", PAIRS)
def test_a_picture_is_a_function_of_its_generator_and_torchs_numbers_stay(name):
    before = torch.random.get_rng_state()
    one, other = (auto_augmented(name, PIXELS, np.random.default_rng([1, 2, s])) for s in (3, 4))
    assert np.array_equal(one, auto_augmented(name, PIXELS, np.random.default_rng([1, 2, 3])))
    assert one.shape == PIXELS.shape and one.dtype == np.uint8
    assert not np.array_equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_none_draws_nothing():
    generator = np.random.default_rng(5)
    assert auto_augmented("none", PIXELS, generator) is PIXELS
    assert generator.random() == np.random.default_rng(5).random()
