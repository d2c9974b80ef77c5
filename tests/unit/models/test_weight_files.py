"""What is said of files that hold more, or something else, than tensors."""

import argparse
import os
import pickle
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from raysel.common.errors import UserError
from raysel.models.weight_files import NotTensors, read_tensor_file
from raysel.models.weights import read_weights
from raysel.tasks.readers.cifar_c import _array
from raysel.training import checkpoint


class Trap:
    """Unpickled, it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def tensors():
    return nn.Linear(2, 3).state_dict()


def write(path, kind):
    state = tensors()
    if kind == "whole model":
        torch.save(nn.Linear(2, 3), path)
    elif kind == "whole model, old format":
        torch.save(nn.Linear(2, 3), path, _use_new_zipfile_serialization=False)
    elif kind == "arguments beside the tensors":
        torch.save({"state_dict": state, "args": argparse.Namespace(lr=1)}, path)
    elif kind == "numpy beside the tensors":
        torch.save({"state_dict": state, "epoch": np.float64(3)}, path)
    elif kind == "plain pickle":
        path.write_bytes(pickle.dumps(state))
    elif kind == "trap":
        torch.save({"state_dict": state, "x": Trap(path.with_name("opened"))}, path)
    elif kind == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(nn.Linear(2, 3)).save(str(path))
    elif kind == "cut off":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-300])
    else:
        contents = {"text": b"hello", "page": b"<html>no such file</html>", "empty": b""}
        path.write_bytes(contents[kind])


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("whole model", "contains pickled objects"),
        ("whole model, old format", "contains pickled objects"),
        ("arguments beside the tensors", "contains pickled objects"),
        ("numpy beside the tensors", "contains pickled objects"),
        ("plain pickle", "contains pickled objects"),
        ("trap", "contains pickled objects"),
        ("torchscript", "is a TorchScript program"),
        ("cut off", "cut off or damaged"),
        ("text", "is not a file of tensors"),
        ("page", "is not a file of tensors"),
        ("empty", "is empty"),
    ],
)
def test_a_refusal_is_in_words_of_our_own(tmp_path, kind, words, ending, recwarn):
    path = tmp_path / f"file{ending}"
    write(path, kind)
    with pytest.raises(UserError) as reported:
        read_weights(path)
    (problem,) = reported.value.problems
    assert words in problem.message
    assert str(path) in problem.message
    for advice in ("weights_only", "trust", "PyTorch 2.6", "\n", "\x1b"):
        assert advice not in problem.message
    assert not (tmp_path / "opened").exists()
    assert not recwarn.list


def test_a_file_is_read_by_its_content_whatever_its_ending(tmp_path):
    wanted = tensors()
    safetensors.torch.save_file(wanted, tmp_path / "a.pth")
    torch.save(wanted, tmp_path / "b.safetensors")
    for path in tmp_path.iterdir():
        found = read_weights(path)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_damaged_safetensors_file_is_reported(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(tensors(), path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(NotTensors, match="is a damaged safetensors file"):
        read_tensor_file(path)


def test_other_readers_give_no_such_advice(tmp_path):
    torch.save({"x": Trap(tmp_path / "opened")}, tmp_path / "checkpoint.pt")
    with pytest.raises(checkpoint.DamagedCheckpoint, match="pickled objects") as damaged:
        checkpoint.read(tmp_path / "checkpoint.pt", "it")
    np.save(tmp_path / "a.npy", np.array([Trap(tmp_path / "opened")], dtype=object))
    with pytest.raises(UserError, match="pickled objects") as reported:
        _array(tmp_path / "a.npy")
    for said in (str(damaged.value), str(reported.value)):
        assert "weights_only" not in said
        assert "allow_pickle" not in said
    assert not (tmp_path / "opened").exists()
