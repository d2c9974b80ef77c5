"""Decoded pictures on disk, once a node: written whole or not at all, mapped into memory by
every trial there.

A cache is a folder named by a hash of everything that determines its pixels. It holds
`pixels.bin` (uint8, one picture after the other), `index.npy` (height, width of each row;
0, 0 for a picture that cannot be read), `contents.npy` (a hash of each picture before it was
resized or shifted, by which copies are found) and `store.json`. Processes that want the same cache
at once wait for the one that builds it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from raysel.common.errors import UserError, user_error
from raysel.tasks.geometry import Pixels
from raysel.tasks.image_io import BadImage, without_warnings

VERSION = 3
"""Part of every key: raised when the same input would give other pixels."""

CHANNELS = 3
_WINDOW = 64  # pictures decoded ahead of the one that is written

CONTENT_BYTES = 16


class Decoded(NamedTuple):
    """One picture: the pixels [h, w, 3] that are kept, `CONTENT_BYTES` of a hash of the whole
    picture as it was read, and whether its file has more pages or frames, which are not read."""

    pixels: Pixels
    content: bytes
    has_more_pages: bool = False


Decode = Callable[[int], Decoded]
"""From a row to its picture; raises `BadImage`."""

OtherCache = tuple[str, NDArray[np.int64]]
"""The key of a cache, and the place of each of its rows in the data set."""

Progress = Callable[[int, int], None]
"""Called with the number of decoded pictures and the total."""


@dataclass(frozen=True, eq=False)
class ImageCache:
    """An opened cache of n pictures.

    Attributes:
        pixels: all bytes, mapped: what is not read takes no memory.
        offsets: [n + 1] where each picture begins.
        shapes: [n, 2] height and width; 0, 0 where a picture cannot be read.
        contents: [n, CONTENT_BYTES] hash of each picture as it was read.
        sha256: of sizes and pixels.
        bad: row and reason of every picture that cannot be read.
        several_pages: rows of files that have more pages or frames than the one that was read.
    """

    pixels: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    shapes: NDArray[np.int64]
    contents: NDArray[np.uint8]
    sha256: str
    bad: tuple[tuple[int, str], ...]
    several_pages: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, row: int) -> Pixels:
        height, width = self.shapes[row]
        start, end = self.offsets[row], self.offsets[row + 1]
        return self.pixels[start:end].reshape(height, width, CHANNELS)

    def rows(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """[m, h, w, 3]: a copy of the chosen rows, which must be of one size."""
        return np.stack([self[row] for row in chosen])


def find_cache(cache: Path, key: str) -> ImageCache | None:
    """The cache of that key; None if there is none, or it is damaged."""
    folder = cache / key
    try:
        facts = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        shapes = np.load(folder / "index.npy", allow_pickle=False)
        contents = np.load(folder / "contents.npy", allow_pickle=False)
        if contents.shape != (len(shapes), CONTENT_BYTES):
            return None
        offsets = np.concatenate([[0], np.cumsum(shapes.prod(axis=1) * CHANNELS)])
        if (folder / "pixels.bin").stat().st_size != offsets[-1]:
            return None
        pixels = np.zeros(0, np.uint8)
        if offsets[-1]:
            pixels = np.memmap(folder / "pixels.bin", np.uint8, "r")
        bad = tuple((int(row), str(reason)) for row, reason in facts["bad"])
        several = tuple(int(row) for row in facts["several_pages"])
        offsets = offsets.astype(np.int64)
        return ImageCache(pixels, offsets, shapes, contents, facts["sha256"], bad, several)
    except Exception:  # NumPy and JSON raise exceptions of many types for a damaged file
        return None


def open_cache(
    cache: Path, key: str, count: int, decode: Decode, progress: Progress | None = None
) -> ImageCache:
    """The cache of that key, built if it is not there.

    Args:
        cache: the folder of all caches.
        count: pictures.
        decode: gives the pixels of a row; called from several threads.

    Raises:
        UserError: the folder cannot be written, or the disk is full (path `task.cache`).
    """
    kept = find_cache(cache, key)
    if kept is not None:
        return kept
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{key}.lock"):
            kept = find_cache(cache, key)  # another process may have built it meanwhile
            if kept is None:
                _build(cache, key, count, decode, progress)
                kept = find_cache(cache, key)
    except OSError as error:
        raise _refused(cache, error) from None
    assert kept is not None
    return kept


def copying(
    decode: Decode, places: NDArray[np.int64], cache: Path, others: Sequence[OtherCache]
) -> Decode:
    """`decode`, but for the pictures that another cache of this node holds: those are copied.

    Args:
        places: [n] place of each row in the data set.
        others: caches whose pictures were made in the same way; one that is not here is skipped.
    """
    known: dict[int, tuple[ImageCache, int]] = {}
    for key, its_places in others:
        found = find_cache(cache, key)
        if found is not None:
            readable = np.flatnonzero(found.shapes.any(axis=1)).tolist()
            known |= {int(its_places[row]): (found, row) for row in readable}

    def copied(row: int) -> Decoded:
        if (place := known.get(int(places[row]))) is None:
            return decode(row)
        found, its_row = place
        more = its_row in found.several_pages
        return Decoded(found[its_row], found.contents[its_row].tobytes(), more)

    return copied


def _build(cache: Path, key: str, count: int, decode: Decode, progress: Progress | None) -> None:
    partial, folder = cache / f"{key}.partial", cache / key
    for left_over in (partial, folder):  # of a process that was killed, or damaged
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir()
    try:
        _write(partial, count, decode, progress)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write(folder: Path, count: int, decode: Decode, progress: Progress | None) -> None:
    shapes = np.zeros((count, 2), np.int64)
    contents = np.zeros((count, CONTENT_BYTES), np.uint8)
    bad: list[tuple[int, str]] = []
    several: list[int] = []
    digest = hashlib.sha256()
    with (folder / "pixels.bin").open("wb") as file:
        for row, decoded in enumerate(_decoded(count, decode)):
            if isinstance(decoded, BadImage):
                bad.append((row, str(decoded)))
            else:
                shapes[row] = decoded.pixels.shape[:2]
                contents[row] = np.frombuffer(decoded.content, np.uint8)
                kept = np.ascontiguousarray(decoded.pixels).tobytes()
                digest.update(kept)
                file.write(kept)
                several += [row] * decoded.has_more_pages
            if progress is not None:
                progress(row + 1, count)
        _to_disk(file.fileno(), file.flush)
    for name, array in (("index.npy", shapes), ("contents.npy", contents)):
        with (folder / name).open("wb") as file:
            np.save(file, array)
            _to_disk(file.fileno(), file.flush)
    digest.update(shapes.tobytes())
    facts = {"version": VERSION, "sha256": digest.hexdigest(), "bad": bad}
    facts["several_pages"] = several
    with (folder / "store.json").open("w", encoding="utf-8") as text:
        json.dump(facts, text)
        _to_disk(text.fileno(), text.flush)


def _to_disk(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(descriptor)


def _decoded(count: int, decode: Decode) -> Iterator[Decoded | BadImage]:
    """The rows in order, decoded by a few threads a little ahead: Pillow works without the
    interpreter's lock, and no more than a window of pictures is held."""

    def safely(row: int) -> Decoded | BadImage:
        try:
            return decode(row)
        except BadImage as error:
            return error

    rows = iter(range(count))
    with without_warnings(), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        while window := list(islice(rows, _WINDOW)):
            yield from threads.map(safely, window)


def _refused(cache: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = 0
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(cache).free
        message = f"no room for the decoded images in {cache} ({free / 1e9:.1f} GB are free)"
    else:
        message = f"{cache} cannot hold the decoded images: {error.strerror or error}"
    return user_error("task.cache", f"{message}; name another folder")


def key_of(facts: object, fingerprints: Iterable[Sequence[object]]) -> str:
    """The key of a cache: a hash of what is done to the pictures, and of each of them."""
    digest = hashlib.sha256(json.dumps([VERSION, facts], sort_keys=True).encode())
    for fingerprint in fingerprints:
        for part in fingerprint:
            content = part if isinstance(part, bytes) else repr(part).encode()
            digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()[:32]
