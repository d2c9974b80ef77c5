from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures_kit import pixels
from PIL import Image

from raysel.models import timm
from raysel.tasks.geometry import Geometry
from raysel.tasks.model_input import ModelInput

INPUT = ModelInput(size=28, interpolation="bicubic", crop_share=0.875)


@pytest.mark.parametrize(
    ("width", "height"), [(60, 40), (40, 60), (32, 32), (13, 200), (20, 25), (41, 64)]
)
@pytest.mark.parametrize("whole", [False, True])
def test_the_centre_is_that_of_timms_own_evaluation(width, height, whole):
    image = Image.fromarray(pixels(1, width, height))
    transform = timm.data.create_transform(
        (3, 28, 28), interpolation="bicubic", crop_pct=0.875, mean=(0, 0, 0), std=(1, 1, 1)
    )
    wanted = np.round(transform(image).numpy().transpose(1, 2, 0) * 255)
    geometry = Geometry(INPUT, whole)
    seen = geometry.centre(geometry.stored(image))
    np.testing.assert_array_equal(seen, wanted)


SIDES = [(60, 40), (40, 60), (32, 32), (28, 28), (13, 200), (20, 25), (41, 64), (1, 1)]


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_share", [0.875, 0.95, 1.0, 1.15])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos", "box"])
def test_every_way_of_timm_to_crop_and_resize_is_followed(crop_mode, crop_share, interpolation):
    mean = (0.9, 0.4, 0.1)  # the colour of a border
    transform = timm.data.create_transform(
        (3, 28, 28),
        interpolation=interpolation,
        crop_pct=crop_share,
        crop_mode=crop_mode,
        mean=mean,
        std=(1, 1, 1),
    )
    model = ModelInput(28, mean, (1, 1, 1), interpolation, crop_share, crop_mode)
    for width, height in SIDES:
        image = Image.fromarray(pixels(1, width, height))
        wanted = (transform(image) + torch.tensor(mean).reshape(3, 1, 1)).numpy() * 255
        seen = Geometry(model).stored(image).transpose(2, 0, 1)
        np.testing.assert_allclose(seen, wanted, atol=0.01, err_msg=f"{width} x {height}")


@pytest.mark.parametrize("sides", [(2000, 11), (7, 500)])
def test_a_strip_is_cut_where_timm_cuts_it(sides):
    image = Image.fromarray(pixels(1, *sides))
    transform = timm.data.create_transform((3, 28, 28), interpolation="bicubic", crop_pct=0.875)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (INPUT.mean, INPUT.std))
    wanted = ((transform(image) * std + mean) * 255).permute(1, 2, 0).numpy()
    # one grey level: the place of a pixel in a part is rounded once more than in the whole
    np.testing.assert_allclose(Geometry(INPUT).stored(image), wanted, atol=1.01)


def test_a_picture_of_the_very_size_comes_through_as_it_is():
    given = pixels(2, 32, 32)
    geometry = Geometry(ModelInput(crop_share=0.9).resized(32))
    np.testing.assert_array_equal(geometry.stored(Image.fromarray(given)), given)


def test_a_whole_picture_keeps_its_shape_and_is_never_enlarged():
    whole = Geometry(INPUT, whole=True)
    assert INPUT.shorter_side == 32
    assert whole.stored(Image.fromarray(pixels(3, 96, 64))).shape == (32, 48, 3)
    small = pixels(4, 20, 25)
    np.testing.assert_array_equal(whole.stored(Image.fromarray(small)), small)


def test_a_strip_does_not_become_gigapixels():
    strip = Image.fromarray(pixels(5, 5000, 2))
    for crop_mode in ("center", "squash", "border"):  # to timm its border alone has no width
        assert Geometry(replace(INPUT, crop_mode=crop_mode)).stored(strip).shape == (28, 28, 3)
    assert Geometry(INPUT, whole=True).stored(strip).shape == (2, 32, 3)


def test_the_interpolation_is_the_models():
    image = Image.fromarray(pixels(6, 90, 90))
    kept = {
        name: Geometry(ModelInput(30, interpolation=name, crop_share=1.0)).stored(image)
        for name in ("bilinear", "bicubic")
    }
    reference = np.asarray(image.resize((30, 30), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(kept["bilinear"], reference)
    assert (kept["bicubic"] != kept["bilinear"]).any()
