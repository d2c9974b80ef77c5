"""Checkpoints as others write them: each is loaded right, or answered in one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from raysel.cli.main import main
from raysel.common.errors import UserError
from raysel.models.build import ModelConfig, build
from raysel.models.fit_weights import fitted_file

State = dict[str, Tensor]

NAME = "test_resnet.r160_in1k"
OWN = build(ModelConfig(NAME, 10, 1, (8, 8)), seed=1)
STATE: State = {
    name: torch.rand_like(tensor) + place if tensor.is_floating_point() else tensor
    for place, (name, tensor) in enumerate(
        build(ModelConfig(NAME, 10, 1, (8, 8)), 0).state_dict().items()
    )
}
BY_COMMAND = {"as it is", "other names", "sharded", "twice", "one missing", "another architecture"}
"""Those that are given to the command line too; the others to what it calls."""

FILE = f"""\
name: odd
task: {{data: digits, split: {{train: 20, validation: 20, test: 20}}}}
model: {{name: {NAME}, weights: FILE}}
strategies: {{linear_probe: }}
training: {{epochs: 1, batch_size: 10, learning_rate: 1.0e-9}}
"""


def renamed(state: State) -> State:
    """The same network from another library."""
    others = {"layer": "stage_", "conv": "c_", "bn": "norm_", "downsample": "skip", "fc.": "out."}
    found = {}
    for name, tensor in state.items():
        for own, other in others.items():
            name = name.replace(own, other)
        found[name] = tensor
    assert not set(found) & set(state)
    return found


def prefixed(prefix: str, state: State = STATE) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def without(name: str, state: State = STATE) -> State:
    return {n: t for n, t in state.items() if n != name}


def swapped(one: str, other: str, state: State) -> State:
    """Two modules in each other's place, each under its own name."""
    order, again = list(state), {}
    for name in order:
        if name.startswith(one):
            again |= {n: state[n] for n in order if n.startswith(other)}
        elif name.startswith(other):
            again |= {n: state[n] for n in order if n.startswith(one)}
        else:
            again[name] = state[name]
    return {name: again[name] for name in again}


def sharded(path: Path) -> None:
    names = list(STATE)
    for number, part in enumerate([names[::2], names[1::2]], 1):
        file = path.with_name(f"w-0000{number}-of-00002.safetensors")
        safetensors.torch.save_file({n: STATE[n] for n in part}, file)


def pth(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


def st(state: State, **metadata: str) -> Callable[[Path], None]:
    return lambda path: safetensors.torch.save_file(state, path, metadata=metadata or None)


A = "layer1.0.conv1.weight"
HALF = {n: t.half() if t.is_floating_point() else t for n, t in STATE.items()}
AVERAGED = {"n_averaged": torch.tensor(3), **prefixed("module.")}
OLD = {name: tensor + 100 for name, tensor in STATE.items()}
PROJECTOR = {"projector.0.weight": torch.zeros(8, 8)}

GOOD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "as it is": ("w.pth", pth(STATE), ""),
    "state_dict": ("w.pth", pth({"epoch": 3, "state_dict": STATE}), ""),
    "a key of somebody's own": ("w.pth", pth({"epoch": 3, "net": STATE}), ""),
    "model beside model_ema": (
        *("w.pth", pth({"model": OLD, "model_ema": AVERAGED})),
        "holds model_ema and model; model_ema (averaged weights) is taken",
    ),
    "encoder.": ("w.pth", pth(prefixed("encoder.")), ""),
    "backbone. beside a projector": (
        *("w.pth", pth(prefixed("backbone.") | PROJECTOR)),
        "has the model's tensors below backbone.; left out: projector.0.weight",
    ),
    "an unknown prefix, twice": (
        "w.pth",
        pth(prefixed("net.visual.") | PROJECTOR),
        "below net.vis",
    ),
    "half precision": ("w.pth", pth(HALF), ""),
    "other names": (
        *("w.pth", pth(renamed(STATE))),
        "tensors of the same order, kinds and shapes are taken by position (c_1.0.weight as conv1",
    ),
    "other names below a prefix": (
        *("w.pth", pth({"state_dict": prefixed("module.", renamed(STATE))})),
        "by position (c_1.0.weight as conv1.0.weight … out.bias as fc.bias)",
    ),
    "other names, and a projector": (
        *("w.pth", pth(prefixed("backbone.", renamed(STATE)) | PROJECTOR)),
        "by position (c_1.0.weight as conv1.0.weight … out.bias as fc.bias)",
    ),
    "another order": ("w.pth", pth(dict(reversed(STATE.items()))), ""),
    "safetensors with metadata": ("w.safetensors", st(STATE, format="pt"), ""),
    "sharded": ("w-00001-of-00002.safetensors", sharded, ""),
}


def write(tmp_path: Path, file: str, content: Callable[[Path], None]) -> Path:
    path = tmp_path / file
    content(path)
    (tmp_path / "odd.yaml").write_text(FILE.replace("FILE", file), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", GOOD)
def test_an_odd_checkpoint_is_loaded_right(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file, content, note = GOOD[kind]
    path = write(tmp_path, file, content)
    found = fitted_file(path, OWN)
    wanted = {n: t.float() for n, t in HALF.items()} if kind == "half precision" else STATE
    tensors = {n for n in STATE if not n.endswith("num_batches_tracked")}
    assert set(found.weights) == set(STATE)
    assert {n for n in tensors if torch.equal(found.weights[n], wanted[n])} == tensors
    assert len(found.notes) == bool(note)
    assert not note or note in found.notes[0]
    if kind in BY_COMMAND:
        assert main(["validate", "odd.yaml"]) == 0
        notes = [line for line in capsys.readouterr().out.splitlines() if "model.weights" in line]
        assert [f"note   {one}" for one in found.notes] == notes


RENAMED = renamed(STATE)
BAD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "one missing": (
        *("w.pth", pth(without(A))),
        f"does not fit the model; missing: {A}; nearest rule: by name ",
    ),
    "one of another shape": (
        *("w.pth", pth(STATE | {A: torch.zeros(2, 2)})),
        f"of another shape: {A} (2, 2) for",
    ),
    "other names, one missing": (
        *("w.pth", pth(renamed(without(A)))),
        "nearest rule: by position: the first ",
    ),
    "other names, one of another shape": (
        *("w.pth", pth(renamed(STATE | {A: torch.zeros(2, 2)}))),
        "stage_1.0.c_1.weight (2, 2) for layer1.0.conv1.weight (",
    ),
    "other names, one more": (
        *("w.pth", pth(RENAMED | {"last.weight": torch.zeros(3, 3)})),
        "nearest rule: by position: ",
    ),
    "other names in another order": (
        *("w.pth", pth(swapped("stage_1.0.c_1.", "stage_1.0.c_2.", RENAMED))),
        "the numbers in its names are in another order: stage_1.0.c_2 comes before stage_1.0.c_1",
    ),
    "other names, mean and deviation in each other's place": (
        *("w.pth", pth(swapped("norm_1.running_mean", "norm_1.running_var", RENAMED))),
        "norm_1.running_var (32,) for bn1.running_mean (32,)",
    ),
    "other names in safetensors": (
        *("w.safetensors", st(RENAMED)),
        "nearest rule: by position: safetensors files keep no order",
    ),
    "twice": (
        *("w.pth", pth(prefixed("student.") | prefixed("teacher."))),
        "holds the model several times, below student., teacher.; keep one of them in the file",
    ),
    "pickled objects": (
        *("w.pth", pth({"state_dict": STATE, "args": argparse.Namespace(lr=1)})),
        "contains pickled objects, which can run code",
    ),
    "a shard alone": (
        *("w-00001-of-00002.safetensors", st(STATE)),
        "is one of 2 files; missing beside it: w-00002-of-00002.safetensors",
    ),
    "the index of shards": (
        *("w.safetensors.index.json", lambda path: (sharded(path), path.write_text("{}"))),
        "is an index; give one of the files it lists, all are then read: w-00001-of-00002.safet",
    ),
    "another architecture": (
        *("w.pth", pth(build(ModelConfig("test_vit", 10, 1, (160, 160)), 0).state_dict())),
        "does not fit the model; missing: conv1.0.weight, ",
    ),
    "empty": ("w.pth", lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "without tensors": ("w.pth", pth({}), "holds no tensors"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_odd_checkpoint_that_does_not_fit_is_answered_in_one_line(
    kind, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    file, content, words = BAD[kind]
    path = write(tmp_path, file, content)
    with pytest.raises(UserError) as reported:
        fitted_file(path, OWN)
    assert words in str(reported.value)
    if kind in BY_COMMAND:
        assert main(["validate", "odd.yaml"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error  model.weights: ") and words in line


def test_modules_that_change_places_in_one_block_are_noticed(tmp_path):
    """Two equal convolutions of a block, stored the other way round."""
    shapes = {n: t for n, t in STATE.items() if not n.startswith("fc.")}
    blocks = [n.partition(".conv2")[0] for n in shapes if ".conv2.weight" in n]
    assert len(blocks) > 1
    alike = next(
        b for b in blocks if shapes[f"{b}.conv1.weight"].shape == shapes[f"{b}.conv2.weight"].shape
    )
    plain = {
        n.replace("conv1", "front").replace("conv2", "back").replace("layer", "stage"): t
        for n, t in STATE.items()
    }
    plain = {f"net.{n}": t for n, t in plain.items()}
    block = alike.replace("layer", "stage")
    wrong = swapped(f"net.{block}.front.", f"net.{block}.back.", plain)
    torch.save(plain, tmp_path / "right.pth")
    torch.save(wrong, tmp_path / "wrong.pth")
    assert torch.equal(fitted_file(tmp_path / "right.pth", OWN).weights[A], STATE[A])
    with pytest.raises(UserError, match="modules change places between blocks"):
        fitted_file(tmp_path / "wrong.pth", OWN)
