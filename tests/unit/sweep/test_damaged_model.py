"""A best model that was emptied, altered or half removed is never handed over."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from few_kit import few
from view_kit import FINISHED, make

from raysel.cli.main import main
from raysel.common.errors import OperationalError
from raysel.export import export_verb
from raysel.export.best_model import _is_whole
from raysel.export.check import Checked, ExpectedOutputs, fixed_inputs, logits_of
from raysel.export.export_verb import Exported
from raysel.export.kept_model import examine
from raysel.export.sums import FILE, altered, write_sums
from raysel.export.timm_layout import COPIED
from raysel.models import timm

RUN = {"id": "confirm-full-s0", "seed": 0, "val/error": 0.1, "val/loss": 0.2}
RESULTS = {
    "name": "a",
    "trials": [],
    "verdict": {"winner": "full"},
    "confirm": [{"strategy": "full", "runs": [RUN]}],
}


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """The best model of the sweep `a`, with its digests."""
    folder = make(tmp_path, "a", FINISHED)
    folder.results.write_text(json.dumps(RESULTS), encoding="utf-8")
    folder.best.mkdir()
    config = {"raysel": {"sweep": "", "run": RUN["id"]}}
    (folder.best / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder.best / "predict.py").write_text("pass", encoding="utf-8")
    weights = {"weight": torch.arange(64.0)}
    safetensors.torch.save_file(weights, folder.best / "model.safetensors")
    write_sums(folder.best)
    return folder.best


def exported(best: Path) -> tuple[int, Path]:
    to = best.parents[1] / "out"
    return main(["export", "a", "--to", str(to), "--storage", str(best.parents[1])]), to


def test_a_sound_model_is_exported_with_its_digests(best: Path) -> None:
    (best / "__pycache__").mkdir()  # predict.py was run in it
    (best / "__pycache__" / "x.pyc").write_bytes(b"x")
    code, to = exported(best)
    assert code == 0
    assert {path.name for path in to.iterdir()} == {
        *("config.json", "predict.py", "model.safetensors", FILE)
    }
    assert altered(to) is None


@pytest.mark.parametrize("way", ["in", "deep/in", "../best/in", "link"])
def test_a_target_below_the_model_is_refused(
    best: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(best.rglob("*"))
    to = best / way
    if way == "link":
        to = best.parents[1] / "link"
        to.symlink_to(best / "in")
    assert main(["export", "a", "--to", str(to), "--storage", str(best.parents[1])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--to" in line
    assert sorted(best.rglob("*")) == before


def test_a_link_that_leads_nowhere_is_no_target(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "to").symlink_to(tmp_path / "gone")
    arguments = ["export", "a", "--to", str(tmp_path / "to"), "--storage", str(best.parents[1])]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"to is a link to {tmp_path / 'gone'}, which is not there" in line


def test_a_full_disk_leaves_no_part_of_a_model(
    best: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Path, target: Path) -> None:
        target.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    code, to = exported(best)
    assert (code, to.exists()) == (1, False)
    assert "the disk is full" in capsys.readouterr().err


def flip(file: Path) -> None:
    """One bit of the last weight."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def zero(file: Path) -> None:
    """As a disk that was full leaves it: of the right length."""
    file.write_bytes(bytes(file.stat().st_size))


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("action", [flip, cut, zero, empty, Path.unlink])
def test_altered_weights_are_one_line_with_the_way_on(
    best: Path, action: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    action(best / "model.safetensors")
    code, to = exported(best)
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert "model.safetensors" in line
    assert "raysel resume a" in line
    assert not to.exists()


@pytest.mark.parametrize("name", ["predict.py", FILE])
def test_so_are_the_other_files(best: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    empty(best / name)
    code, to = exported(best)
    assert code == 1
    assert name in capsys.readouterr().err
    assert not to.exists()


def test_a_model_without_digests_that_nothing_can_verify_is_exported_with_a_note(
    best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (best / FILE).unlink()
    assert exported(best)[0] == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.safetensors cannot be verified" in line
    assert "check.json" in line


def kept_outputs(best: Path, add: float) -> None:
    """A model of timm's without digests, beside what it is noted to have answered."""
    (best / FILE).unlink()
    model = timm.create_model("test_resnet", num_classes=2).eval()
    safetensors.torch.save_file(model.state_dict(), best / "model.safetensors")
    outputs = {"seed": 20, "shape": [3, 32, 32]}
    logits = logits_of(model, fixed_inputs((3, 32, 32))) + add
    (best / "check.json").write_text(json.dumps(outputs | {"logits": logits.tolist()}))
    config = json.loads((best / "config.json").read_text())
    size = {"input_size": [3, 32, 32], "num_classes": 2}
    config |= {"architecture": "test_resnet", "num_classes": 2, "pretrained_cfg": size}
    (best / "config.json").write_text(json.dumps(config | {"label_names": ["a", "b"]}))
    for source in COPIED:
        shutil.copy(source, best)


@pytest.mark.slow
@pytest.mark.parametrize("swapped", few(True, False))
def test_a_model_without_digests_must_answer_as_the_one_that_was_written(
    best: Path, swapped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_outputs(best, add=float(swapped))
    code, to = exported(best)
    out, err = capsys.readouterr()
    assert code == int(swapped), out + err
    assert to.exists() == (not swapped)
    assert not (best / "__pycache__").exists()
    if swapped:
        (line,) = err.splitlines()
        assert "model.safetensors is not the one that was written" in line
        assert "raysel resume a" in line
    assert (examine(best).problem is not None) == swapped  # a resume makes it again then


def test_what_a_model_answered_is_written_anew_with_it_where_that_is_damaged(
    best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = best / "check.json"
    ExpectedOutputs((3, 32, 32), torch.zeros(4, 2)).save(best)
    assert _is_whole(best)
    empty(outputs)
    assert not _is_whole(best)  # a resume makes the model again
    to = best.parents[1] / "out"
    arguments = ["export", "a", "--to", str(to), "--storage", str(best.parents[1])]
    assert main([*arguments, "--check"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "check.json: cannot be read" in line
    assert "make the model again with: raysel resume a" in line
    assert main(arguments) == 0  # its digests are right


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("failure", ["refused", "ended", "interrupted"])
def test_a_model_whose_check_fails_is_not_left_behind(
    best: Path, there: bool, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`refused`: it gives other numbers; `ended`: timm cannot load it."""

    def checked(view: object, out: Exported) -> Checked:
        seen.append(sorted(path.name for path in out.folder.iterdir()))
        if failure == "refused":
            return Checked(4, 1.0, passed=False)
        raise KeyboardInterrupt if failure == "interrupted" else OperationalError("a", "b")

    seen: list[list[str]] = []
    monkeypatch.setattr(export_verb, "_checked", checked)
    to = best.parents[1] / "out"
    if there:
        to.mkdir()
    arguments = ["export", "a", "--to", str(to), "--storage", str(best.parents[1]), "--check"]
    assert main(arguments) == (130 if failure == "interrupted" else 1)
    assert seen == [["SHA256SUMS", "config.json", "model.safetensors", "predict.py"]]
    assert to.exists() == there
    assert not there or not any(to.iterdir())


@pytest.mark.parametrize("action", [cut, empty, zero, Path.unlink])
def test_of_such_a_model_cut_weights_are_found(
    best: Path, action: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    (best / FILE).unlink()
    action(best / "model.safetensors")
    code, to = exported(best)
    assert (code, to.exists()) == (1, False)
    assert "model.safetensors" in capsys.readouterr().err
