import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raysel.spec.sweep import ShiftSpec
from raysel.tasks.data import Examples
from raysel.tasks.shifts import SHIFTS, shift_examples, shift_labels, shift_pixels

CLASS_COUNT = 5
SEEDS = st.integers(0, 2**32)
GRADED = ("gaussian_noise", "contrast")
IMAGE_SHIFTS = [kind for kind, shift in SHIFTS.items() if shift.of_image]
LABEL_SHIFTS = [kind for kind, shift in SHIFTS.items() if shift.of_label]

IMAGES = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(3, 4), st.integers(2, 5), st.integers(2, 5)),
    elements=st.floats(0, 1, width=32),
)


def _examples(images) -> Examples:
    return Examples(images, np.arange(len(images), dtype=np.int64) % CLASS_COUNT)


def _shift(examples, kind, severity=5, seed=0, indices=None) -> Examples:
    indices = np.arange(len(examples)) if indices is None else np.asarray(indices)
    return shift_examples(
        examples, indices, ShiftSpec(kind=kind, severity=severity), seed, CLASS_COUNT
    )


def _random_images(n=6, seed=0):
    return np.random.default_rng(seed).random((n, 3, 8, 8), dtype=np.float32)


def test_the_registry_holds_the_kinds_that_the_sweep_file_names():
    assert set(SHIFTS) == {
        *("none", "contrast", "inversion", "channel_permutation", "label_flip", "label_noise"),
        *("frost", "gaussian_blur", "gaussian_noise", "glass_blur", "impulse_noise"),
        *("jpeg_compression", "motion_blur", "pixelate", "saturate", "shot_noise", "snow"),
        *("spatter", "speckle_noise", "zoom_blur"),
    }


@given(IMAGES, st.integers(1, 5), SEEDS, st.sampled_from(sorted(SHIFTS)))
def test_a_shift_keeps_shape_type_range_and_its_input(images, severity, seed, kind):
    before = images.copy()
    shifted = _shift(_examples(images), kind, severity, seed)
    assert shifted.images.shape == images.shape
    assert shifted.images.dtype == np.float32
    assert shifted.images.min() >= 0
    assert shifted.images.max() <= 1
    assert set(shifted.labels) <= set(range(CLASS_COUNT))
    np.testing.assert_array_equal(images, before)


def test_none_changes_nothing():
    examples = _examples(_random_images())
    shifted = _shift(examples, "none")
    np.testing.assert_array_equal(shifted.images, examples.images)
    np.testing.assert_array_equal(shifted.labels, examples.labels)


@pytest.mark.parametrize("kind", IMAGE_SHIFTS)
def test_a_stored_image_is_shifted_as_the_loaded_one_is(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    before = pixels.copy()
    loaded = (pixels.transpose(2, 0, 1) / 255).astype(np.float32)[None]
    expected = _shift(_examples(loaded), kind, 4, seed=5, indices=[7]).images[0]
    shifted = shift_pixels(pixels, 7, ShiftSpec(kind=kind, severity=4), 5, math.sqrt(40 * 36))
    assert shifted.dtype == np.uint8
    assert shifted.shape == pixels.shape
    assert np.abs(shifted.transpose(2, 0, 1) / 255 - expected).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("kind", ["none", *LABEL_SHIFTS])
def test_a_stored_image_stays_where_the_input_does_not_shift(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(shift_pixels(pixels, 0, ShiftSpec(kind=kind), 0, 4), pixels)


@pytest.mark.parametrize("kind", IMAGE_SHIFTS)
def test_an_input_shift_changes_images_and_no_label(kind):
    examples = _examples(_random_images())
    shifted = _shift(examples, kind)
    assert not np.array_equal(shifted.images, examples.images)
    np.testing.assert_array_equal(shifted.labels, examples.labels)


@pytest.mark.parametrize("kind", LABEL_SHIFTS)
def test_an_output_shift_changes_labels_and_no_image(kind):
    examples = _examples(_random_images())
    shifted = _shift(examples, kind)
    assert not np.array_equal(shifted.labels, examples.labels)
    np.testing.assert_array_equal(shifted.images, examples.images)


@given(SEEDS, st.sampled_from(sorted(SHIFTS)))
def test_the_same_seed_gives_the_same_shift(seed, kind):
    examples = _examples(_random_images())
    first, again = (_shift(examples, kind, seed=seed) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)


@given(SEEDS, SEEDS)
def test_another_seed_gives_another_noise(seed, other):
    examples = _examples(_random_images())
    same = np.array_equal(
        _shift(examples, "gaussian_noise", seed=seed).images,
        _shift(examples, "gaussian_noise", seed=other).images,
    )
    assert same == (seed == other)


@given(st.permutations(range(6)), st.integers(1, 6), st.sampled_from(IMAGE_SHIFTS))
def test_an_image_is_shifted_alike_in_every_part_of_the_data(order, taken, kind):
    images = _random_images(6)
    whole = _shift(_examples(images), kind).images
    part = order[:taken]
    shifted = _shift(_examples(images[part]), kind, indices=part).images
    np.testing.assert_array_equal(shifted, whole[part])


def test_two_images_get_different_noise():
    grey = np.full((2, 1, 8, 8), 0.5, np.float32)
    first, second = _shift(_examples(grey), "gaussian_noise", severity=1).images
    assert not np.array_equal(first, second)


@given(SEEDS, st.sampled_from(GRADED))
def test_the_distance_grows_with_the_severity(seed, kind):
    images = _random_images(4, seed)
    distances = [
        float(np.abs(_shift(_examples(images), kind, severity, seed).images - images).mean())
        for severity in range(1, 6)
    ]
    assert all(low < high for low, high in zip([0.0, *distances], distances, strict=False))


def test_noise_on_tiny_images_has_a_deviation_of_a_tenth_a_severity():
    # Images smaller than 32 pixels, for which no paper has a deviation.
    # At 0.5 and severity 1 the border is five deviations away, so clipping takes nothing.
    # 40,000 draws tell a deviation to 0.1 * 1 / sqrt(2 * 40,000) = 0.00035; five of these.
    grey = np.full((100, 1, 20, 20), 0.5, np.float32)
    noise = _shift(_examples(grey), "gaussian_noise", severity=1).images - grey
    assert noise.std() == pytest.approx(0.1, abs=0.0018)
    assert noise.mean() == pytest.approx(0, abs=0.0025)


@pytest.mark.parametrize(("severity", "left"), [(1, 0.75), (3, 0.45), (5, 0.15)])
def test_contrast_leaves_a_share_of_the_distance_from_each_channels_mean(severity, left):
    image = np.array([[[0.0, 1.0]], [[0.2, 0.6]]], np.float32)[None]  # means 0.5 and 0.4
    expected = [
        [[0.5 - 0.5 * left, 0.5 + 0.5 * left]],
        [[0.4 - 0.2 * left, 0.4 + 0.2 * left]],
    ]
    shifted = _shift(_examples(image), "contrast", severity).images[0]
    np.testing.assert_allclose(shifted, expected, atol=1e-6)


@pytest.mark.parametrize("severity", [1, 5])
def test_inversion_is_one_minus_the_image_at_every_severity(severity):
    images = _random_images()
    shifted = _shift(_examples(images), "inversion", severity).images
    np.testing.assert_array_equal(shifted, 1 - images)


@pytest.mark.parametrize("severity", [1, 5])
def test_the_first_three_channels_are_ordered_2_0_1_and_others_stay(severity):
    images = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1) / 4
    shifted = _shift(_examples(images), "channel_permutation", severity).images
    np.testing.assert_array_equal(shifted.ravel() * 4, [2, 0, 1, 3])


def test_a_flipped_label_is_counted_from_the_other_end():
    labels = _shift(_examples(_random_images(5)), "label_flip").labels
    np.testing.assert_array_equal(labels, [4, 3, 2, 1, 0])


@pytest.mark.parametrize(("severity", "share"), [(1, 0.1), (5, 0.5)])
def test_label_noise_gives_a_share_of_the_labels_another_class(severity, share):
    labels = np.full(4000, 2, np.int64)
    spec = ShiftSpec(kind="label_noise", severity=severity)
    noisy = shift_labels(labels, np.arange(4000), spec, 0, CLASS_COUNT)
    # five standard errors of a share of 4,000: at most 0.04
    assert (noisy != labels).mean() == pytest.approx(share, abs=5 * (share / 4000) ** 0.5)
    counts = np.bincount(noisy[noisy != 2], minlength=CLASS_COUNT)
    assert counts[2] == 0
    assert counts[[0, 1, 3, 4]].min() > 0.7 * counts[[0, 1, 3, 4]].max()


def test_label_noise_is_an_examples_own():
    labels = np.arange(50) % CLASS_COUNT
    spec, indices = ShiftSpec(kind="label_noise"), np.arange(50)
    whole = shift_labels(labels, indices, spec, 3, CLASS_COUNT)
    part = shift_labels(labels[20:], indices[20:], spec, 3, CLASS_COUNT)
    np.testing.assert_array_equal(part, whole[20:])


@pytest.mark.parametrize("kind", sorted(SHIFTS))
def test_a_part_without_examples_stays_one(kind):
    assert len(_shift(_examples(_random_images(0)), kind)) == 0
