import numpy as np
from sklearn.datasets import load_digits

from raysel.tasks.readers.embedded_digits import digits, digits_edges


def _all(dataset):
    return dataset.load_images(np.arange(len(dataset)))


def test_digits_are_grey_images_in_the_unit_range():
    images = _all(digits())
    assert images.shape == (1797, 1, 16, 16)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0.0, 1.0)


def test_every_pixel_becomes_a_block_of_two_by_two():
    images = _all(digits())[:, 0]
    for row in (0, 1):
        for column in (0, 1):
            np.testing.assert_array_equal(
                images[:, row::2, column::2] * 16, load_digits().images.astype(np.float32)
            )


def test_only_the_images_asked_for_are_given_in_their_order():
    dataset = digits()
    np.testing.assert_array_equal(dataset.load_images(np.array([7, 2])), _all(dataset)[[7, 2]])


def test_the_declared_shape_is_that_of_the_images():
    for dataset in (digits(), digits_edges()):
        images = dataset.load_images(np.array([0]))
        assert images.shape == (1, dataset.channels, *dataset.image_size)
        assert images.dtype == np.float32
        assert set(dataset.labels) == set(range(len(dataset.classes)))


def test_edges_are_half_of_one_plus_the_difference_to_the_next_pixel():
    small = _all(digits_edges())[:, :, ::2, ::2].astype(np.float64)
    grey, horizontal, vertical = small[:, 0], small[:, 1], small[:, 2]
    np.testing.assert_array_equal(grey, _all(digits())[:, 0, ::2, ::2])
    np.testing.assert_allclose(horizontal[:, :, :-1], (1 + grey[:, :, 1:] - grey[:, :, :-1]) / 2)
    np.testing.assert_allclose(vertical[:, :-1], (1 + grey[:, 1:] - grey[:, :-1]) / 2)
    np.testing.assert_array_equal(horizontal[:, :, -1], 0.5)
    np.testing.assert_array_equal(vertical[:, -1], 0.5)


def test_inverting_an_edge_channel_inverts_the_difference():
    small = _all(digits_edges())[:, :, ::2, ::2].astype(np.float64)
    inverted = 1 - small
    np.testing.assert_allclose(
        inverted[:, 1, :, :-1], (1 + inverted[:, 0, :, 1:] - inverted[:, 0, :, :-1]) / 2
    )
