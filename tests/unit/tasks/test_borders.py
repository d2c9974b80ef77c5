"""Whatever a library raises on a damaged file of the user is one line, and nothing hangs.

Every reader of a user's file is given files of noise, files that are cut off, nested too deeply or
of another kind, named pipes and devices.
"""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from raysel.common.errors import UserError
from raysel.models.weights import read_weights
from raysel.tasks.image_cache import find_cache
from raysel.tasks.readers import cifar_c
from raysel.tasks.readers.cifar_c import cifar10c
from raysel.tasks.readers.published import PUBLISHED
from raysel.tasks.split_file import read_split
from raysel.training.confusion import read_confusion
from raysel.training.environment import read as read_machines

DAMAGED = {
    "empty": b"",
    "noise": np.random.default_rng(0).bytes(4000),
    "deep": b"[" * 200_000,
    "list": b"[1, 2]",
    "number": b"7",
    "zero bytes": b"\0" * 100,
    "npy of objects": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False,"
    b" 'shape': (1,), }" + b" " * 40 + b"\n",
    "npy of a wild shape": b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False,"
    b" 'shape': (99999999999999,), }" + b" " * 40 + b"\n",
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "pickle": pickle.dumps(struct.error),
    "safetensors of a wild size": struct.pack("<Q", 2**62) + b"{}",
    "safetensors of wild offsets": struct.pack("<Q", 60)
    + b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}} '[:60],
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.bin"])
def test_damaged_weights_are_a_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^model.weights: .*w\.") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_weights_that_hold_themselves_are_a_line(tmp_path):
    content: dict[str, object] = {}
    content["state_dict"] = content
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match="cannot be read: it is nested too deeply"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_split_is_a_line(tmp_path, content):
    path = tmp_path / "split.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"task.split.indices: .*split.json") as caught:
        read_split(path, np.array([0, 1]), ("a", "b"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("which", ["labels", "fog"])
def test_damaged_arrays_of_cifar10c_are_a_line(tmp_path, which, content):
    folder = tmp_path / cifar_c.FOLDER
    folder.mkdir()
    np.save(folder / "fog.npy", np.zeros((10, 4, 4, 3), np.uint8))
    np.save(folder / "labels.npy", np.arange(10) % 2)
    (folder / f"{which}.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"^task.data: ") as caught:
        cifar10c(tmp_path, "fog", 1, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [np.array(["x"] * 10), np.linspace(0, 1, 10)])
def test_labels_of_cifar10c_are_whole_numbers(tmp_path, labels):
    folder = tmp_path / cifar_c.FOLDER
    folder.mkdir()
    np.save(folder / "fog.npy", np.zeros((10, 4, 4, 3), np.uint8))
    np.save(folder / "labels.npy", labels)
    with pytest.raises(UserError, match=r"labels.npy must be whole numbers"):
        cifar10c(tmp_path, "fog", 1, 0)


@pytest.mark.parametrize("raised", [struct.error("x"), AssertionError("x"), AttributeError("x")])
def test_whatever_torchvision_raises_is_a_line(tmp_path, monkeypatch, raised):
    class Broken:
        def __init__(self, *_args, **_options):
            raise raised

    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setattr("torchvision.datasets.CIFAR10", Broken)
    with pytest.raises(
        UserError, match=r"^task.data: cifar10 in .* cannot be read: x; remove it and"
    ):
        PUBLISHED["cifar10"].open("cifar10", tmp_path, False, 0)


def test_a_pipe_within_a_published_data_set_does_not_hang(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    os.mkfifo(folder / "data_batch_1")
    with pytest.raises(UserError, match=r"data_batch_1 is a named pipe \(FIFO\), no regular file"):
        PUBLISHED["cifar10"].open("cifar10", tmp_path, False, 0)


@pytest.mark.parametrize("device", ["pipe", "/dev/zero"])
def test_no_reader_of_a_users_file_opens_a_pipe_or_a_device(tmp_path, device):
    target = tmp_path / device if device == "pipe" else Path(device)
    if device == "pipe":
        os.mkfifo(target)
    for name, read in (
        ("split.json", lambda path: read_split(path, np.array([0, 1]), ("a", "b"))),
        ("w.pt", read_weights),
        ("w.safetensors", read_weights),
    ):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(UserError):
            read(tmp_path / name)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_raysel_keeps_for_itself_is_made_anew_where_it_is_damaged(tmp_path, content):
    (tmp_path / "key").mkdir()
    for name in ("store.json", "index.npy", "contents.npy", "pixels.bin", "confusion.csv"):
        (tmp_path / "key" / name).write_bytes(content)
    assert find_cache(tmp_path, "key") is None
    assert (read_confusion(tmp_path / "key") or ([], []))[1] == []
    (tmp_path / "machines.json").write_bytes(content)
    assert read_machines(tmp_path / "machines.json") == []


def test_the_helper_leaves_sound_files_alone(tmp_path):
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors")["a"].tolist() == [1, 1]
