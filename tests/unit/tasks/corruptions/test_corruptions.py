"""Against the published generator's definition, on made-up photographs of the usual spectrum."""

import inspect

import numpy as np
import pytest
from few_kit import count, slow

from raysel.tasks.corruptions import CORRUPTIONS
from raysel.tasks.corruptions.image import dragged
from raysel.tasks.corruptions.severity import CIFAR_10_C, IMAGENET_C, TINY, parameters

SIZES = (32, 96)  # CIFAR-10-C's parameters, ImageNet-C's


def photographs(number, size, seed=0):
    """[number, size, size, 3] whose amplitudes fall with the frequency, as a photograph's do."""
    generator = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    falloff = 1 / np.maximum(np.hypot(rows, columns), 1 / size) ** 1.2
    noise = generator.standard_normal((number, 4, size, falloff.shape[1], 2)) @ [1, 1j]
    planes = np.fft.irfft2(noise * falloff, s=(size, size))
    planes /= planes.std(axis=(2, 3), keepdims=True)
    # the channels of a photograph differ less than they agree
    colours = 0.47 + 0.2 * planes[:, 3:] + 0.08 * planes[:, :3]
    return np.clip(colours, 0, 1).transpose(0, 2, 3, 1).astype(np.float32)


def corrupted(kind, image, level, seed=0, index=0):
    arguments = parameters(kind, level, image.shape[0])
    result = CORRUPTIONS[kind](image, *arguments, np.random.default_rng([seed, index]))
    return np.clip(result, 0, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_a_higher_severity_is_farther_from_the_clean_image(kind, size):
    images = photographs(count(12, 40) if size == 32 else count(3, 8), size)
    distances = [
        np.mean(
            [np.abs(corrupted(kind, x, level, index=i) - x).mean() for i, x in enumerate(images)]
        )
        for level in range(1, 6)
    ]
    assert all(low < high for low, high in zip([0.0, *distances], distances, strict=False))


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
@pytest.mark.parametrize(
    ("height", "width", "channels"),
    [(1, 1, 1), (33, 20, 4), *slow([(2, 3, 3), (16, 16, 1), (90, 100, 3)])],
)
def test_any_size_and_number_of_channels_keeps_its_shape_and_stays_finite(
    kind, height, width, channels
):
    shape = (height, width, channels)
    if kind == "saturate" and shape[2] < 3:
        pytest.skip("saturation needs colours; the catalog refuses it with fewer than 3 channels")
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    before = image.copy()
    for level in (1, 3, 5):
        result = corrupted(kind, image, level)
        assert result.shape == shape
        assert np.isfinite(result).all()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_the_same_seed_and_index_give_the_same_image(kind):
    image = photographs(1, 32)[0]
    first, again = (corrupted(kind, image, 5, seed=3, index=8) for _ in range(2))
    np.testing.assert_array_equal(first, again)


DRAWING = sorted(
    set(CORRUPTIONS)
    - {"gaussian_blur", "jpeg_compression", "pixelate", "saturate", "zoom_blur"}  # draw nothing
)


@pytest.mark.parametrize("kind", DRAWING)
def test_another_index_draws_another_corruption(kind):
    image = photographs(1, 32)[0]
    one, other = (corrupted(kind, image, 5, index=index) for index in (1, 2))
    assert not np.array_equal(one, other)


# --- parameters --------------------------------------------------------------------------------

PUBLISHED_5 = {
    "gaussian_noise": (0.10,),
    "shot_noise": (50,),
    "impulse_noise": (0.07,),
    "speckle_noise": (0.2,),
    "gaussian_blur": (1,),
    "jpeg_compression": (40,),
    "saturate": (2.5, 0.2),
    "zoom_blur": (1.26, 0.01),
    "glass_blur": (0.4, 1, 2),
}


@pytest.mark.parametrize("kind", sorted(PUBLISHED_5))
def test_severity_5_of_a_cifar_image_is_the_published_one(kind):
    assert parameters(kind, 5, 32) == PUBLISHED_5[kind]


def test_severity_5_pixelates_32_pixels_to_20():
    image = photographs(1, 32)[0]
    result = corrupted("pixelate", image, 5)
    # 20 columns are spread over 32: that many different ones are left
    assert len(np.unique(result[0, :, 0])) == 20


@pytest.mark.parametrize("table", [CIFAR_10_C, IMAGENET_C, TINY])
def test_every_corruption_has_five_severities_that_its_function_takes(table):
    assert set(table) == set(CORRUPTIONS)
    for kind, levels in table.items():
        takes = len(inspect.signature(CORRUPTIONS[kind]).parameters) - 2  # image, generator
        assert [len(level) for level in levels] == [takes] * 5


def test_the_parameters_follow_the_size_of_the_image():
    assert parameters("gaussian_noise", 5, 16) == (0.5,)
    assert parameters("gaussian_noise", 5, 32) == (0.1,)
    assert parameters("gaussian_noise", 5, 64) == (0.1,)
    assert parameters("gaussian_noise", 5, 224) == (0.38,)
    assert parameters("gaussian_noise", 5, 84) == (0.1,)
    assert parameters("gaussian_noise", 5, 85) == (0.38,)


# --- what each does ----------------------------------------------------------------------------

GREY = np.full((100, 100, 1), 0.5, np.float32)


def draw(kind, image, *arguments):
    return CORRUPTIONS[kind](image, *arguments, np.random.default_rng(0))


def test_shot_noise_has_the_variance_of_a_count():
    # Poisson of 0.5 * 60 photons: the variance of the share is 0.5 / 60
    noisy = draw("shot_noise", GREY, 60)
    assert noisy.mean() == pytest.approx(0.5, abs=0.005)
    assert noisy.var() == pytest.approx(0.5 / 60, rel=0.08)


def test_impulses_are_black_and_white_alike():
    noisy = draw("impulse_noise", GREY, 0.2)
    assert (noisy == 0).mean() == pytest.approx(0.1, abs=0.02)
    assert (noisy == 1).mean() == pytest.approx(0.1, abs=0.02)


def test_speckles_leave_black_as_it_is_and_grow_with_the_brightness():
    image = np.concatenate([0 * GREY, GREY / 2, GREY])
    noisy = draw("speckle_noise", image, 0.2)
    assert (noisy[:100] == 0).all()
    assert noisy[100:200].std() == pytest.approx(0.05, rel=0.1)
    assert noisy[200:].std() == pytest.approx(0.1, rel=0.1)


def test_frosted_glass_takes_every_pixel_from_nearby():
    # without blur (a tiny sigma) a pixel's value says which row and column it came from
    rows, columns = np.mgrid[0:40, 0:40].astype(np.float32)
    image = np.stack([rows, columns], axis=2)
    moved = np.abs(draw("glass_blur", image, 0.01, 2, 1) - image)
    assert moved.max() == 2
    assert (moved[2:38, 2:38] > 0).mean() > 0.6
    assert (moved[:2] == 0).all()


def test_a_trail_runs_in_its_direction_and_keeps_the_brightness():
    point = np.zeros((21, 21), np.float32)
    point[10, 10] = 1
    trail = dragged(point, 3, 2.0, 0)  # pixel p sees p + u: the trail lies to the left
    assert trail.sum() == pytest.approx(1, abs=1e-6)
    assert np.flatnonzero(trail[10]).tolist() == list(range(4, 11))
    assert np.flatnonzero(trail.sum(axis=1)).tolist() == [10]
    assert (np.diff(trail[10, 4:11]) > 0).all()


def test_zooming_moves_what_is_off_the_middle_outwards():
    image = np.zeros((41, 41, 1), np.float32)
    image[20, 30] = 1
    blurred = draw("zoom_blur", image, 1.26, 0.01)
    reached = np.flatnonzero(blurred[20, :, 0] > 1e-3)
    assert reached.min() >= 29
    assert reached.max() >= 32


def test_flakes_and_their_mirror_image_fall_on_black():
    black = np.zeros((32, 32, 3), np.float32)
    fallen = draw("snow", black, *CIFAR_10_C["snow"][4][:-1], 1.0)
    assert fallen.max() > 0.1
    np.testing.assert_allclose(fallen, fallen[::-1, ::-1], atol=1e-6)


def test_mud_is_brown_and_water_brightens():
    white, black = np.ones((64, 64, 3), np.float32), np.zeros((64, 64, 3), np.float32)
    muddy = draw("spatter", white, 0.65, 0.1, 0.5, 0.6, 0.1, True)
    np.testing.assert_allclose(muddy.min(axis=(0, 1)), np.array([63, 42, 20]) / 255, atol=0.01)
    watered = draw("spatter", black, 0.65, 0.3, 1, 0.69, 0.5, False)
    brightest = watered.max(axis=(0, 1))
    np.testing.assert_allclose(brightest, 0.5 * np.array([175, 238, 238]) / 255, atol=0.01)


def test_dry_glass_changes_nothing():
    image = photographs(1, 32)[0]
    np.testing.assert_array_equal(draw("spatter", image, 0, 0.1, 1, 0.69, 0.5, False), image)
    np.testing.assert_array_equal(draw("spatter", image, 0, 0.1, 1, 0.69, 0.5, True), image)


def test_frost_dims_the_image_and_adds_its_share_of_ice():
    white = np.ones((32, 32, 3), np.float32)
    iced = draw("frost", white, 0.75, 0.45)
    ice = (iced - 0.75) / 0.45
    assert ice.min() >= -1e-6
    assert ice.max() == pytest.approx(1, abs=1e-5)  # blue of the brightest crystal
    assert (ice[..., 0] <= ice[..., 2] + 1e-6).all()


def test_saturation_keeps_hue_and_value():
    import colorsys

    image = photographs(1, 16)[0]
    result = draw("saturate", image, 1.5, 0.0)
    for before, after in zip(image.reshape(-1, 3), result.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before.tolist())
        expected = colorsys.hsv_to_rgb(hue, min(saturation * 1.5, 1), value)
        np.testing.assert_allclose(after, expected, atol=1e-4)


def test_an_offset_turns_grey_red_as_a_hue_of_0_does():
    result = draw("saturate", np.full((1, 1, 3), 0.5, np.float32), 2.5, 0.2)
    np.testing.assert_allclose(result[0, 0], [0.5, 0.4, 0.4], atol=1e-6)


def test_jpeg_of_low_quality_takes_what_the_eye_misses():
    image = photographs(1, 32)[0]
    error = [np.abs(draw("jpeg_compression", image, q) - image).mean() for q in (95, 40, 5)]
    assert error[0] < error[1] < error[2] < 0.2
