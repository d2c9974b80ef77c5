"""Every kind of image file is read right or refused with the reason."""

import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from few_kit import count
from PIL import Image, ImageFile, ImageOps

from raysel.tasks.image_io import (
    SEVERAL_PAGES,
    BadImage,
    image_endings,
    read_image,
    without_warnings,
)


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


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "avif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_turn_is_that_of_pillow_and_exif_is_never_written(
    tmp_path, monkeypatch, ending, turn
):
    exif = Image.Exif()
    exif[0x0112] = turn
    path = _saved(tmp_path / f"a.{ending}", Image.fromarray(COLOURS[:4]), exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if ending != "avif":  # whose plugin writes it on opening where it says otherwise than the file
        monkeypatch.setattr(Image.Exif, "tobytes", _not_to_be_called)
    np.testing.assert_array_equal(_read(path), expected)


def _not_to_be_called(*_args, **_options):
    raise struct.error("required argument is not an integer")


@pytest.mark.parametrize(
    ("tag", "field_type", "count", "value"),
    [
        *((0x0100, 2, 4, b"abc\0"), (0x011A, 10, 1, b"\x0c\0\0\0"), (0x8769, 4, 1, b"\xff" * 4)),
        *((0x0132, 2, 200, b"\xff" * 4), (0xEA1C, 7, 4, b"\0" * 4), (0x9286, 13, 9, b"\1" * 4)),
        *((0x8825, 2, 4, b"gps\0"), (0x0111, 12, 2**31, b"\0" * 4), (0xA005, 4, 0, b"\0" * 4)),
        (0x0102, 99, 1, b"\0" * 4),
    ],
)
def test_a_sound_picture_with_an_odd_tag_is_read_and_turned(
    tmp_path, tag, field_type, count, value
):
    entries = [(0x0112, 3, 1, b"\6\0\0\0"), (tag, field_type, count, value)]
    fields = b"".join(struct.pack("<HHL", t, k, n) + v for t, k, n, v in sorted(entries))
    exif = b"Exif\0\0II*\0\x08\0\0\0\2\0" + fields + b"\0\0\0\0"
    path = _saved(tmp_path / "a.png", Image.fromarray(COLOURS[:4]), exif=exif)
    np.testing.assert_array_equal(_read(path), np.rot90(COLOURS[:4], -1))


@pytest.mark.parametrize(
    ("suffix", "several"),
    [(".tiff", True), (".gif", True), (".webp", True), (".png", True), (".mpo", False)],
)
def test_further_pages_are_noted_and_the_first_is_read(tmp_path, suffix, several):
    """What follows in an MPO, as telephones write it, is a preview."""
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    path = tmp_path / f"picture{suffix}"
    first.save(path, save_all=True, append_images=[second])
    picture = read_image(path)
    assert (SEVERAL_PAGES in picture.info) == several
    assert picture.getpixel((8, 8))[0] > 200
    first.save(path, **({"format": "JPEG"} if suffix == ".mpo" else {}))
    assert SEVERAL_PAGES not in read_image(path).info


def test_damaged_metadata_do_not_spoil_sound_pixels(tmp_path):
    exif = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    path = _saved(tmp_path / "a.png", Image.fromarray(COLOURS), exif=exif)
    np.testing.assert_array_equal(_read(path), COLOURS)


def _bytes_of_a_jpeg(tmp_path: Path) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return _saved(tmp_path / "whole.jpg", Image.fromarray(noise)).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", r"is empty \(0 bytes\)"),
        ("text.jpg", b"not found", "is not an image that Pillow knows"),
        ("page.jpg", b"<!DOCTYPE html><html>not found", "is a web page; the download has failed"),
        ("a.jpg", b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
        ("renamed.jpg", b"PK\x03\x04", "is a ZIP archive"),
        ("phone.jpg", b"\x00\x00\x00\x18ftypqt  \x00", "is a video"),
        ("head.png", b"\x89PNG\r\n\x1a\n", "is not an image|cannot be read"),
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


def test_an_image_beyond_all_reason_is_refused(tmp_path, monkeypatch):
    path = _saved(tmp_path / "a.png", Image.fromarray(COLOURS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # 64 pixels are more than twice that
    with pytest.raises(BadImage, match="is too large"):
        read_image(path)


@pytest.mark.parametrize(
    "raised",
    [
        *(RuntimeError("no frame"), struct.error("4 bytes"), zlib.error("x"), AssertionError()),
        *(MemoryError(), AttributeError("x"), RecursionError(), NotImplementedError("x")),
        *(OverflowError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "x"), ZeroDivisionError()),
        UserWarning("turned into an error by -W error"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_whatever_a_decoder_raises_is_a_picture_that_cannot_be_read(tmp_path, monkeypatch, raised):
    path = _saved(tmp_path / "a.png", Image.fromarray(COLOURS))

    def load(_image):
        raise raised

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(BadImage, match=r"cannot be read: \S"):
        read_image(path)


FORMATS = {
    **{"PNG": "png", "JPEG": "jpg", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp"},
    **{"AVIF": "avif", "JPEG2000": "jp2", "PPM": "ppm", "TGA": "tga", "PCX": "pcx", "ICO": "ico"},
    **{"SGI": "sgi", "DDS": "dds"},
}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_of_any_kind_is_read_or_refused_and_nothing_else(tmp_path, kind):
    draw = np.random.default_rng(0)
    noise = Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    whole = _saved(tmp_path / f"whole.{FORMATS[kind]}", noise, format=kind).read_bytes()
    assert read_image(tmp_path / f"whole.{FORMATS[kind]}").mode == "RGB"
    path = tmp_path / f"damaged.{FORMATS[kind]}"
    with without_warnings():
        for number in range(count(15, 60)):
            content = bytearray(whole)
            for _ in range(int(draw.integers(1, 12))):
                content[int(draw.integers(len(content)))] = int(draw.integers(256))
            path.write_bytes(content[: int(draw.integers(len(content)))] if number % 3 else content)
            try:
                assert read_image(path).mode == "RGB"
            except BadImage as error:
                assert str(error)


@pytest.mark.parametrize(
    "ending", ["jfif", "avif", "jpe", "jp2", "tga", "apng", "webp", "mpo", "pnm", "psd", "qoi"]
)
def test_endings_of_all_that_pillow_reads_are_taken(ending):
    assert f".{ending}" in image_endings()


@pytest.mark.parametrize("ending", ["pdf", "eps", "ps", "h5", "mpg", "wmf", "txt", "csv"])
def test_endings_of_what_is_no_picture_are_not(ending):
    assert f".{ending}" not in image_endings()


def test_postscript_under_the_name_of_a_picture_is_not_run(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    with pytest.raises(BadImage, match="is PostScript"):
        read_image(path)


def test_heic_is_read_with_the_extra(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    assert ".heic" in image_endings()
    flat = np.full((32, 48, 3), (200, 100, 50), np.uint8)
    heif.from_pillow(Image.fromarray(flat)).save(tmp_path / "a.heic")
    read = _read(tmp_path / "a.heic")
    assert read.shape == flat.shape
    np.testing.assert_allclose(read, flat, atol=6)


def test_only_a_regular_file_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, reported in (
        ("pipe.png", r"is a named pipe \(FIFO\), no regular file"),
        ("folder.png", "is a folder, no regular file"),
        ("zero.png", "is a device, no regular file"),
    ):
        with pytest.raises(BadImage, match=reported):
            read_image(tmp_path / name)


def test_warnings_of_pillow_do_not_reach_the_terminal_nor_stop_the_reading(tmp_path, monkeypatch):
    path = _saved(tmp_path / "a.png", Image.fromarray(COLOURS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # 64 pixels: a warning, no error
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with without_warnings():
            np.testing.assert_array_equal(_read(path), COLOURS)


_DAMAGED_TIFF = """
import sys
from pathlib import Path
from PIL import Image
from raysel.tasks.image_io import BadImage, read_image

path = Path(sys.argv[1])
Image.new("RGB", (64, 64), (200, 10, 30)).save(path, compression="tiff_lzw")
content = bytearray(path.read_bytes())
content[8:60] = b"\\xff" * 52  # its compressed pixels
path.write_bytes(content)
try:
    read_image(path)
except BadImage as error:
    print(error)
"""


def test_a_damaged_tiff_is_reported_by_its_exception_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _DAMAGED_TIFF, str(tmp_path / "a.tif")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("cannot be read: ")
    assert done.stderr == ""
