"""Stored features: written whole, read as they were, made again where they are damaged, left out
where there is no room."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import Tensor

from raysel.training import feature_files
from raysel.training.feature_files import FeatureSpec, NotStored, find_features, open_features

ROWS = torch.randn(10, 3, 2, generator=torch.Generator().manual_seed(0))
SPEC = FeatureSpec("key", 10, (3, 2), torch.float32)


class Compute:
    """Gives `ROWS`, and counts how often it was asked."""

    def __init__(self, rows: Tensor = ROWS) -> None:
        self.rows, self.calls = rows, 0

    def __call__(self) -> Iterator[Tensor]:
        self.calls += 1
        yield from self.rows.split(4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_read_as_they_were_computed(tmp_path, dtype):
    rows = ROWS.to(dtype)
    spec = FeatureSpec("key", 10, (3, 2), dtype)
    file = open_features(tmp_path / "new", spec, Compute(rows))
    which = np.array([7, 0, 7])
    read = file.read(which)
    assert read.dtype == dtype and torch.equal(read, rows[which])
    read.zero_()  # a copy
    assert torch.equal(file.read(which), rows[which])


def test_they_are_computed_once(tmp_path):
    compute = Compute()
    for _ in range(2):
        open_features(tmp_path, SPEC, compute)
    assert compute.calls == 1


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda own: _flip_a_bit(own / "features.bin"),
        lambda own: (own / "features.bin").write_bytes(b"short"),
        lambda own: (own / "features.bin").unlink(),
        lambda own: (own / "features.json").write_text("{"),
        lambda own: (own / "features.json").unlink(),
    ],
)
def test_a_damaged_file_is_made_again(tmp_path, damage):
    compute = Compute()
    open_features(tmp_path, SPEC, compute)
    damage(tmp_path / "key")
    assert find_features(tmp_path, SPEC) is None
    file = open_features(tmp_path, SPEC, compute)
    assert compute.calls == 2
    assert torch.equal(file.read(np.arange(10)), ROWS)


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    (tmp_path / "key.partial").mkdir()
    (tmp_path / "key.partial" / "features.bin").write_bytes(b"half")
    assert len(open_features(tmp_path, SPEC, Compute())) == 10
    assert not (tmp_path / "key.partial").exists()


def _open_beside_others(folder: Path, gate: Any, number: int) -> None:
    """In a process of its own: what it computes, and what it reads, become files."""

    def compute() -> Iterator[Tensor]:
        (folder.parent / f"computed-{number}").touch()
        time.sleep(0.3)
        yield ROWS

    gate.wait()
    rows = open_features(folder, SPEC, compute).read(np.arange(10))
    np.save(folder.parent / f"read-{number}.npy", rows.numpy())


def test_of_processes_that_begin_at_once_one_computes(tmp_path):
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(3)
    processes = [
        context.Process(target=_open_beside_others, args=(tmp_path / "features", gate, number))
        for number in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert len(list(tmp_path.glob("computed-*"))) == 1
    read = [np.load(path) for path in tmp_path.glob("read-*.npy")]
    assert len(read) == 3 and all((rows == ROWS.numpy()).all() for rows in read)


def test_the_wait_for_another_process_has_an_end(tmp_path):
    held = threading.Event()
    done = threading.Event()

    def hold() -> None:
        with FileLock(tmp_path / "key.lock"):
            held.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    try:
        with pytest.raises(NotStored, match="did not end within 0 s"):
            open_features(tmp_path, SPEC, Compute(), wait=0.1)
    finally:
        done.set()
        holder.join()


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotStored, match="the disk is full"):
        open_features(tmp_path, SPEC, Compute())
    assert not any(path.is_dir() for path in tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotStored, match="file"):
        open_features(tmp_path / "file" / "features", SPEC, Compute())


def test_a_file_has_no_more_than_its_share_of_disk_and_memory(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    free = SPEC.bytes * 2 - 1
    monkeypatch.setattr(
        feature_files.shutil, "disk_usage", lambda _: usage(10 * free, 9 * free, free)
    )
    with pytest.raises(NotStored, match="for one part"):
        open_features(tmp_path, SPEC, Compute())
    monkeypatch.undo()
    memory = namedtuple("memory", "total")
    monkeypatch.setattr(feature_files.psutil, "virtual_memory", lambda: memory(SPEC.bytes * 4 - 1))
    with pytest.raises(NotStored, match="for one part"):
        open_features(tmp_path, SPEC, Compute())


def _spec(key: str) -> FeatureSpec:
    return FeatureSpec(key, 10, (3, 2), torch.float32)


def test_the_oldest_that_nobody_uses_makes_room(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "MOST_BYTES", 3 * SPEC.bytes)
    for age, key in [(3, "oldest"), (2, "old"), (0, "used")]:
        open_features(tmp_path, _spec(key), Compute())
        then = time.time() - age * 24 * 3600
        os.utime(tmp_path / key / "features.json", (then, then))
    open_features(tmp_path, _spec("new"), Compute())
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"old", "used", "new"}


def test_what_may_be_in_use_is_not_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "MOST_BYTES", SPEC.bytes)
    open_features(tmp_path, _spec("used"), Compute())
    with pytest.raises(NotStored, match="for all parts"):
        open_features(tmp_path, _spec("new"), Compute())
    assert find_features(tmp_path, _spec("used")) is not None


def test_opening_a_file_counts_as_use(tmp_path):
    open_features(tmp_path, SPEC, Compute())
    facts = tmp_path / "key" / "features.json"
    os.utime(facts, (0, 0))
    open_features(tmp_path, SPEC, Compute()).touch()
    assert time.time() - facts.stat().st_mtime < 60
