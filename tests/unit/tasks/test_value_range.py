"""Pictures of more than 8 bits are scaled by the range of the data set's values."""

from pathlib import Path

import numpy as np
import pictures_kit as kit
import pytest
from PIL import Image

from raysel.tasks.image_io import BadImage, read_image
from raysel.tasks.load_task import load_task
from raysel.tasks.model_input import ModelInput
from raysel.tasks.range_scan import scan_ranges
from raysel.tasks.readers.folder import image_folder
from raysel.tasks.value_range import ValueRange


def _saved(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _folder(root: Path, *pictures: np.ndarray, ending: str = "png") -> Path:
    """The pictures in turn in the classes a and b."""
    for number, pixels in enumerate(pictures):
        _saved(root / "ab"[number % 2] / f"{number}.{ending}", pixels)
    return root


def _flat(value: float, kind: type = np.uint16) -> np.ndarray:
    return np.full((8, 8), value, kind)


@pytest.mark.parametrize(
    ("highest", "white"),
    [
        *((200, 255), (256, 1023), (1023, 1023), (1024, 4095), (4095, 4095), (4096, 16383)),
        *((16384, 65535), (65535, 65535), (70000, 70000)),
    ],
)
def test_white_is_the_largest_value_of_the_least_depth(highest, white):
    assert ValueRange.of(0, highest, real=False) == ValueRange(0, white)


@pytest.mark.parametrize(
    ("lowest", "highest", "black", "white"),
    [
        (0.1, 0.9, 0, 1),
        (0, 1, 0, 1),
        (0, 254.5, 0, 255),
        (-1, 1, -1, 1),
        (-1000, 3000, -1000, 3000),
    ],
)
def test_real_numbers_have_a_depth_of_one_too(lowest, highest, black, white):
    assert ValueRange.of(lowest, highest, real=True) == ValueRange(black, white)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_twelve_bits_in_a_file_of_sixteen_are_neither_dark_nor_stretched_one_by_one(
    tmp_path, ending
):
    root = _folder(tmp_path / "x", _flat(4000), _flat(1000), _flat(0), _flat(2048), ending=ending)
    pictures = image_folder(root)
    ranges = scan_ranges(pictures, tmp_path / "cache")
    assert ranges.whole == ValueRange(0, 4095)
    read = [int(np.asarray(read_image(path, ranges))[0, 0, 0]) for path in pictures.sources]
    # a/0, a/2, b/1, b/3: v / 4095 * 255
    assert read == [249, 0, 62, 128]
    assert ranges.notes() == (
        "4 pictures are grey of more than 8 bits: 0 is black and 4095 is white (12 bits)",
    )


def test_a_task_of_twelve_bits_says_how_it_is_scaled_and_keeps_its_pixels(tmp_path):
    pixels = [_flat(300 * (n % 13) + n) for n in range(24)]
    root = _folder(tmp_path / "x", *pixels)
    task = load_task(kit.task({"folder": str(root)}, tmp_path), ModelInput(size=8))
    assert any("4095 is white (12 bits)" in note for note in task.notes)
    drawn = task.train.centres(np.arange(len(task.train)))[:, 0, 0, 0]
    numbers = [int(image_folder(root).sources[i].stem) for i in task.train.indices]
    assert drawn.tolist() == [round(int(pixels[n][0, 0]) / 4095 * 255) for n in numbers]
    # a worker that has to build the store anew scales as the driver did
    assert (task.train.make_decoder()(0).pixels == task.train.opened[0]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.0, 0.5, 1.0), (0, 128, 255)),
        ((0.0, 100.0, 255.0), (0, 100, 255)),
        ((0.0, 2048.0, 4095.0), (0, 128, 255)),
        ((-1.0, 0.0, 1.0), (0, 128, 255)),
    ],
)
def test_tiff_of_real_numbers(tmp_path, values, expected):
    root = _folder(tmp_path / "x", *(_flat(v, np.float32) for v in values), ending="tif")
    pictures = image_folder(root)
    ranges = scan_ranges(pictures, tmp_path / "cache")
    read = {p.stem: int(np.asarray(read_image(p, ranges))[0, 0, 0]) for p in pictures.sources}
    assert [read[str(n)] for n in range(3)] == list(expected)


def test_whole_numbers_of_32_bits_and_below_zero(tmp_path):
    root = _folder(tmp_path / "x", _flat(-1000, np.int32), _flat(3000, np.int32), ending="tif")
    pictures = image_folder(root)
    ranges = scan_ranges(pictures, tmp_path / "cache")
    assert ranges.whole == ValueRange(-1000, 3000)
    read = [int(np.asarray(read_image(p, ranges))[0, 0, 0]) for p in pictures.sources]
    assert read == [0, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_no_number_is_refused(tmp_path, value):
    path = _saved(tmp_path / "a.tif", _flat(value, np.float32))
    with pytest.raises(BadImage, match="no finite numbers"):
        read_image(path)


def test_a_pgm_names_its_own_white(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 4095\n" + np.array([100, 4095], ">u2").tobytes())
    assert np.asarray(read_image(path))[0, :, 0].tolist() == [6, 255]


def test_colours_of_sixteen_bits_of_which_four_would_be_left_are_refused(tmp_path):
    cv2_like = np.full((4, 4, 3), 4095, ">u2")
    _write_png_of_16_bits(tmp_path / "dark.png", cv2_like)
    with pytest.raises(BadImage, match="has 16 bits a colour and uses 12 at most"):
        read_image(tmp_path / "dark.png")
    _write_png_of_16_bits(tmp_path / "full.png", cv2_like * 16)
    assert np.asarray(read_image(tmp_path / "full.png"))[0, 0].tolist() == [255, 255, 255]


def _write_png_of_16_bits(path: Path, pixels: np.ndarray) -> None:
    """Pillow has no mode for it: the chunks by hand."""
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">L", len(content)) + checked + struct.pack(">L", zlib.crc32(checked))

    height, width, _ = pixels.shape
    head = struct.pack(">LLBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_what_was_found_is_kept_until_a_picture_changes(tmp_path, monkeypatch):
    root = _folder(tmp_path / "x", _flat(4000), _flat(1000))
    first = scan_ranges(image_folder(root), tmp_path / "cache")
    monkeypatch.setattr("raysel.tasks.range_scan._scanned", lambda files: pytest.fail("again"))
    assert scan_ranges(image_folder(root), tmp_path / "cache") == first
    monkeypatch.undo()
    _saved(root / "a" / "0.png", np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    assert scan_ranges(image_folder(root), tmp_path / "cache").whole == ValueRange(0, 65535)
