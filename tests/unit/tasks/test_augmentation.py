from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures_kit import photo, pixels
from PIL import Image

from raysel.tasks.augmentation import (
    AUGMENTATIONS,
    crop_box,
    flip,
    is_mirrored,
    random_crop,
    random_resized_crop,
)
from raysel.tasks.geometry import Geometry
from raysel.tasks.model_input import ModelInput

GEOMETRY = Geometry(ModelInput().resized(16))


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_the_same_generator_gives_the_same_picture_and_another_another(name):
    kept = pixels(0, 16, 16)
    augment = AUGMENTATIONS[name]
    seen = {augment(kept, GEOMETRY, _rng(seed)).tobytes() for seed in range(8)}
    assert len(seen) > 1
    for seed in range(3):
        one, two = (augment(kept, GEOMETRY, _rng(seed)) for _ in range(2))
        assert one.shape == (16, 16, 3)
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, two)


def test_half_of_the_pictures_are_mirrored_and_the_others_as_they_are():
    kept = pixels(1, 16, 16)
    mirrored = 0
    for seed in range(200):
        seen = flip(kept, GEOMETRY, _rng(seed))
        is_mirrored = np.array_equal(seen, kept[:, ::-1])
        assert is_mirrored or np.array_equal(seen, kept)
        mirrored += is_mirrored
    assert 70 < mirrored < 130


def test_a_random_crop_moves_by_at_most_an_eighth_over_black():
    kept = np.maximum(pixels(2, 16, 16), 1)
    places = set()
    for seed in range(200):
        seen = random_crop(kept, GEOMETRY, _rng(seed))
        for shown in (seen, seen[:, ::-1]):
            rows = np.flatnonzero(shown.any(axis=(1, 2)))
            columns = np.flatnonzero(shown.any(axis=(0, 2)))
            inner = shown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            for top in range(3):
                for left in range(3):
                    part = kept[top : top + inner.shape[0], left : left + inner.shape[1]]
                    if part.shape == inner.shape and np.array_equal(part, inner):
                        places.add((int(rows[0]) - top, int(columns[0]) - left))
    assert {abs(move) for place in places for move in place} == {0, 1, 2}  # 16 / 8
    assert len(places) == 25


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 1000))
def test_a_random_part_lies_in_the_picture(width, height, seed):
    left, top, right, bottom = crop_box(width, height, _rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_random_parts_are_of_8_to_100_percent_and_of_ratio_3_4_to_4_3():
    generator = _rng(3)
    boxes = [crop_box(500, 400, generator) for _ in range(500)]
    areas = [(r - l) * (b - t) / 200_000 for l, t, r, b in boxes]  # noqa: E741
    ratios = [(r - l) / (b - t) for l, t, r, b in boxes]  # noqa: E741
    assert 0.075 < min(areas) < 0.15
    assert 0.75 < max(areas) <= 1.0
    assert 0.74 < min(ratios) < 0.78
    assert 1.28 < max(ratios) < 1.35


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("interpolation", "most"), [("bilinear", 1), ("bicubic", 2), ("box", 0)])
@pytest.mark.parametrize("size", [16, 100])
def test_a_resized_crop_is_pillows(interpolation, most, size):
    kept = np.array(photo(70, 55, 7))
    kept.flags.writeable = False  # as a cache's
    geometry = Geometry(replace(ModelInput(), interpolation=interpolation).resized(size))
    means = []
    for seed in range(40):
        generator = _rng(seed)
        cut = Image.fromarray(kept).crop(crop_box(70, 55, generator))
        expected = np.asarray(cut.resize((size, size), geometry.resampling), np.int16)
        if is_mirrored(generator):
            expected = expected[:, ::-1]
        off = np.abs(random_resized_crop(kept, geometry, _rng(seed)) - expected)
        assert off.max() <= most
        means.append(off.mean())
    assert np.mean(means) < 0.02  # grey levels


def test_a_part_that_never_fits_is_the_centre_as_in_torchvision():
    # of a strip no part of at least 8 % of the area has a ratio of at most 4/3
    assert crop_box(1000, 10, _rng()) == (493, 0, 506, 10)  # 13 = round(10 * 4 / 3)
