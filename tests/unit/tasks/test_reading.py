"""Every kind of image file is read right or refused with the reason."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysel.tasks.reading import BadImage, read_image


def _read(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def _saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=2)


def test_rgb_is_read_as_it_is(tmp_path):
    path = _saved(tmp_path / "a.png", Image.fromarray(COLOURS))
    np.testing.assert_array_equal(_read(path), COLOURS)


def test_grey_is_the_same_in_all_three_channels(tmp_path):
    path = _saved(tmp_path / "a.png", Image.fromarray(RAMP))
    np.testing.assert_array_equal(_read(path), np.stack([RAMP] * 3, axis=2))


def test_black_and_white_of_one_bit_becomes_0_and_255(tmp_path):
    path = _saved(tmp_path / "a.png", Image.fromarray(RAMP > 100))
    np.testing.assert_array_equal(_read(path)[..., 0], np.where(RAMP > 100, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix):
    deep = RAMP.astype(np.uint16) * 257  # 0 .. 65535 for 0 .. 255
    path = _saved(tmp_path / f"a.{suffix}", Image.fromarray(deep))
    np.testing.assert_array_equal(_read(path)[..., 0], RAMP)


def test_a_palette_gives_its_colours(tmp_path):
    few = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 8, 7]]], np.uint8)
    palette = Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    assert palette.mode == "P"
    np.testing.assert_array_equal(_read(_saved(tmp_path / "a.png", palette)), few)


def test_what_is_transparent_lies_on_white(tmp_path):
    alpha = np.zeros((2, 2, 1), np.uint8)
    alpha[0, 0], alpha[0, 1] = 255, 128
    black = np.concatenate([np.zeros((2, 2, 3), np.uint8), alpha], axis=2)
    read = _read(_saved(tmp_path / "a.png", Image.fromarray(black)))
    assert read[0, 0].tolist() == [0, 0, 0]
    assert read[0, 1].tolist() == [127, 127, 127]  # half black, half white
    assert read[1, 0].tolist() == [255, 255, 255]


def test_a_palettes_transparent_colour_lies_on_white(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    path = _saved(tmp_path / "a.png", palette, transparency=0)
    assert _read(path)[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_grey_with_alpha_lies_on_white(tmp_path):
    both = np.array([[[0, 255], [0, 0]]], np.uint8)
    path = _saved(tmp_path / "a.png", Image.fromarray(both))
    assert _read(path)[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_cmyk_becomes_the_colours_that_it_prints(tmp_path):
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[:, :, 0] = 255  # cyan alone: no red
    image = Image.frombytes("CMYK", (8, 8), inks.tobytes())
    read = _read(_saved(tmp_path / "a.jpg", image, quality=95))
    np.testing.assert_allclose(read.reshape(-1, 3).mean(axis=0), [0, 255, 255], atol=4)


def test_a_picture_is_turned_as_the_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    path = _saved(tmp_path / "a.png", Image.fromarray(COLOURS[:4]), exif=exif)
    np.testing.assert_array_equal(_read(path), np.rot90(COLOURS[:4], -1))


def _bytes_of_a_jpeg(tmp_path: Path) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return _saved(tmp_path / "whole.jpg", Image.fromarray(noise)).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", r"is empty \(0 bytes\)"),
        ("text.jpg", b"<html>not found</html>", "is no image that Pillow knows"),
        ("head.png", b"\x89PNG\r\n\x1a\n", "is no image|cannot be read"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadImage, match=reason):
        read_image(path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    whole = _bytes_of_a_jpeg(tmp_path)
    for share in (0.02, 0.2, 0.5, 0.9):
        path = tmp_path / "cut.jpg"
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BadImage):
            read_image(path)


def test_a_png_with_damaged_pixels_is_refused(tmp_path):
    path = _saved(tmp_path / "a.png", Image.fromarray(COLOURS))
    content = bytearray(path.read_bytes())
    middle = content.index(b"IDAT") + 8
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(bytes(content))
    with pytest.raises(BadImage, match="cannot be read"):
        read_image(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadImage, match="is missing"):
        read_image(tmp_path / "a.jpg")


def test_real_numbers_are_refused_for_their_range_is_not_known(tmp_path):
    path = _saved(tmp_path / "a.tif", Image.fromarray(RAMP.astype(np.float32)))
    with pytest.raises(BadImage, match="real numbers"):
        read_image(path)


def test_an_image_beyond_all_reason_is_refused(tmp_path, monkeypatch):
    path = _saved(tmp_path / "a.png", Image.fromarray(COLOURS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # 64 pixels are more than twice that
    with pytest.raises(BadImage, match="is too large"):
        read_image(path)
