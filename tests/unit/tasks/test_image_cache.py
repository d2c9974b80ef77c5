import errno
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from pictures_kit import pixels

from raysel.common.errors import UserError
from raysel.tasks import image_cache as module
from raysel.tasks.image_cache import Decoded, ImageCache, find_cache, key_of, open_cache
from raysel.tasks.image_io import BadImage

KEY = "k"


def _content(row: int) -> bytes:
    return bytes([row % 256] * 16)


def _draw(row: int) -> Decoded:
    """Pictures of sizes of their own; the fourth cannot be read."""
    if row == 3:
        raise BadImage("is empty")
    return Decoded(pixels(row, width=5 + row % 3, height=4 + row % 2), _content(row))


def _no_draw(row: int) -> Decoded:
    raise AssertionError("decoded again")


def _check(kept: ImageCache, count: int) -> None:
    assert len(kept) == count
    for row in range(count):
        if row != 3:
            np.testing.assert_array_equal(kept[row], _draw(row).pixels)
            assert kept.contents[row].tobytes() == _content(row)
    assert kept.bad == ((3, "is empty"),)
    assert kept.shapes[3].tolist() == [0, 0]


def test_pictures_come_back_as_they_were_drawn(tmp_path):
    _check(open_cache(tmp_path, KEY, 200, _draw), 200)


def test_a_store_that_is_there_is_not_drawn_again(tmp_path):
    first = open_cache(tmp_path, KEY, 10, _draw)
    again = open_cache(tmp_path, KEY, 10, _no_draw)
    _check(again, 10)
    assert again.sha256 == first.sha256


def test_another_picture_gives_another_hash(tmp_path):
    one = open_cache(tmp_path, "a", 5, _draw)
    two = open_cache(tmp_path, "b", 5, lambda row: _draw(row if row != 4 else 7))
    assert one.sha256 != two.sha256


def test_pixels_are_mapped_from_the_file_and_cannot_be_written(tmp_path):
    kept = open_cache(tmp_path, KEY, 5, _draw)
    assert isinstance(kept.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        kept[0][0, 0, 0] = 1


def test_rows_of_one_size_are_stacked(tmp_path):
    kept = open_cache(tmp_path, KEY, 6, lambda row: Decoded(pixels(row), _content(row)))
    wanted = np.stack([pixels(4), pixels(1)])
    np.testing.assert_array_equal(kept.rows(np.array([4, 1])), wanted)


@pytest.mark.parametrize("broken", ["pixels.bin", "index.npy", "contents.npy", "store.json"])
@pytest.mark.parametrize("how", ["cut", "empty", "gone"])
def test_a_damaged_store_is_none_and_is_built_again(tmp_path, broken, how):
    open_cache(tmp_path, KEY, 10, _draw)
    file = tmp_path / KEY / broken
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9] if how == "cut" else b"")
    assert find_cache(tmp_path, KEY) is None
    _check(open_cache(tmp_path, KEY, 10, _draw), 10)


def test_contents_of_fewer_pictures_are_damage(tmp_path):
    """A whole file, of another cache."""
    open_cache(tmp_path, KEY, 10, _draw)
    file = tmp_path / KEY / "contents.npy"
    np.save(file, np.load(file)[:-1])
    assert find_cache(tmp_path, KEY) is None


def test_what_fails_halfway_leaves_no_store(tmp_path):
    def draw(row: int) -> Decoded:
        if row == 150:
            raise MemoryError
        return _draw(row)

    with pytest.raises(MemoryError):
        open_cache(tmp_path, KEY, 200, draw)
    assert find_cache(tmp_path, KEY) is None
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY}.lock"]


def _build_and_die(cache: Path) -> None:
    def draw(row: int) -> Decoded:
        if row == 100:
            os.kill(os.getpid(), 9)
        return _draw(row)

    open_cache(cache, KEY, 200, draw)


def test_a_builder_that_was_killed_leaves_no_store_and_no_lock(tmp_path):
    builder = multiprocessing.get_context("fork").Process(target=_build_and_die, args=(tmp_path,))
    builder.start()
    builder.join(60)
    assert builder.exitcode == -9
    assert (tmp_path / f"{KEY}.partial").is_dir()
    assert find_cache(tmp_path, KEY) is None
    _check(open_cache(tmp_path, KEY, 10, _draw), 10)
    assert not (tmp_path / f"{KEY}.partial").exists()


def _build_slowly(cache: Path, drawn: Path) -> None:
    def draw(row: int) -> Decoded:
        (drawn / f"{os.getpid()}-{row}").touch()
        time.sleep(0.01)
        return _draw(row)

    _check(open_cache(cache, KEY, 20, draw), 20)


def test_of_two_processes_at_once_one_builds_and_the_other_waits(tmp_path):
    cache, drawn = tmp_path / "cache", tmp_path / "drawn"
    drawn.mkdir()
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_build_slowly, args=(cache, drawn)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert len(list(drawn.iterdir())) == 20  # every picture once


def test_pictures_are_not_held_in_memory_while_they_are_written(tmp_path):
    alive = 0
    most = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def draw(row: int) -> Decoded:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return Decoded(np.zeros((4, 4, 3), np.uint8).view(Counted), _content(row))

    open_cache(tmp_path, KEY, 1000, draw)
    assert most < 200


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_to_disk", full)
    with pytest.raises(UserError) as caught:
        open_cache(tmp_path, KEY, 5, _draw)
    (problem,) = caught.value.problems
    assert problem.path == "task.cache"
    assert problem.message.startswith(f"no room for the decoded images in {tmp_path} (")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^task.cache: .* cannot hold the decoded images: "):
        open_cache(tmp_path / "file" / "below", KEY, 5, _draw)


def test_progress_ends_with_all_of_them(tmp_path):
    reported = []
    open_cache(tmp_path, KEY, 70, _draw, lambda done, total: reported.append((done, total)))
    assert reported == [(n, 70) for n in range(1, 71)]


def test_pictures_that_can_none_be_read_make_a_store_without_pixels(tmp_path):
    def draw(row: int) -> Decoded:
        raise BadImage("is empty")

    assert len(open_cache(tmp_path, KEY, 3, draw).bad) == 3


def test_a_key_follows_what_is_done_and_every_picture():
    keys = [
        key_of({"size": 8}, [("a", 1), ("b", 2)]),
        key_of({"size": 9}, [("a", 1), ("b", 2)]),
        key_of({"size": 8}, [("a", 1), ("b", 3)]),
        key_of({"size": 8}, [("b", 2), ("a", 1)]),
        key_of({"size": 8}, [("a", 1)]),
        key_of({"size": 8}, [(b"a", 1), ("b", 2)]),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of({"size": 8}, [("a", 1), ("b", 2)]) == keys[0]
