"""The multiply-adds of a picture, against published ones."""

import pytest
from few_kit import several

from raysel.models.known_models import multiply_adds_of as remembered
from raysel.models.multiply_adds import multiply_adds_of


@pytest.mark.parametrize(
    ("model", "published"),
    several(
        2,
        [
            ("resnet18", 1.8e9),  # He et al. 2016, table 1
            (
                "resnet50",
                4.1e9,
            ),  # timm's results table; 3.8e9 in the paper, which strides elsewhere
            ("swin_tiny_patch4_window7_224", 4.5e9),  # Liu et al. 2021, table 1, attention included
            ("vit_tiny_patch16_224", 1.3e9),  # Touvron et al. 2021, table 1 (DeiT-Ti)
        ],
    ),
)
def test_they_are_the_published_ones(model, published):
    assert multiply_adds_of(model, 1000, image_size=(224, 224)) == pytest.approx(
        published, rel=0.04
    )


def test_a_convolution_costs_four_times_as_much_on_twice_the_side():
    small, large = (multiply_adds_of("test_resnet", 10, image_size=(s, s)) for s in (32, 64))
    classifier = 96 * 10  # of both, after pooling
    assert (large - classifier) == 4 * (small - classifier)


def test_what_is_remembered_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    question = ("test_resnet", 10, 1, "linear", (32, 32))
    assert remembered(*question) == remembered(*question) == multiply_adds_of(*question)
