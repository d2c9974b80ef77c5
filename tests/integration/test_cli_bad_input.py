"""A user's mistake at the command line: exit code 2, one line, nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from raysel.cli import main
from raysel.search import validate

FILE = """\
name: small
task: {data: digits}
model: {name: resnet10t}
strategies:
  full:
  surgical: {block: stem}
  bvg_ls:
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(FILE)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.epohcs=3", 'training.epohcs: unknown key; did you mean "epochs"?'),
        ("training.epochs=many", 'training.epochs: "many" is not accepted; give a whole number'),
        (
            "strategies.bvg_l=",
            'strategies.bvg_l: no strategy is called "bvg_l"; did you mean "bvg_ls"?',
        ),
        ("task.data=digit", 'task.data: no data set is called "digit"; did you mean "digits"?'),
        (
            "model.name=resnet10_t",
            'model.name: timm has no model "resnet10_t"; did you mean "resnet10t"?',
        ),
        ("search.sampler=tpee", 'search.sampler: "tpee" is unknown; did you mean "tpe"?'),
        (
            "strategies.bvg_ls.ema_decay=1.2",
            "strategies.bvg_ls.ema_decay: 1.2 is outside (0, 1); the paper uses 0.9",
        ),
        (
            "strategies.surgical.block=layer9",
            'strategies.surgical.block: the model has no layer "layer9"; it has'
            " stem, layer1, layer2, layer3, layer4, head",
        ),
        ("search.num_trials=0", "search.num_trials: 0 is not accepted; give a number above 0"),
        ("training.epochs=0", "training.epochs: 0 is not accepted; give a number above 0"),
        ("confirm.seeds=0", "confirm.seeds: 0 is not accepted; give a number above 0"),
        (
            "confirm={until: decided}",
            "confirm.smallest_effect: until: decided needs it: below which difference nothing",
        ),
        (
            "confirm={until: decided, seeds: 1, smallest_effect: 0.01}",
            "confirm.splits: 1; until: decided begins with 3 splits or more",
        ),
        ("confirm.max_runs=9", "confirm.max_runs: 9 has no effect without confirm.until: decided"),
        (
            "verdict.contrasts=[bvg - full]",
            'verdict.contrasts.0: "bvg" is not a strategy of this sweep; did you mean "bvg_ls"?',
        ),
        (
            "task.split.validation=9",
            "task.split.validation: 9 examples cannot hold all 10 classes",
        ),
        ("storage=sweep.yaml/runs", 'storage: "sweep.yaml/runs" cannot be made: '),
    ],
)
def test_a_mistake_in_a_value_is_one_line(folder, capsys, override, line):
    before = contents(folder)
    assert main.main(["validate", "sweep.yaml", "--set", override]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.startswith(f"error  {line}")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "other.yaml: there is no such file"),
        ("", "other.yaml: is empty; `raysel init` writes a commented example"),
        ("name: [", "other.yaml: is not YAML: "),
        ("- a list", "other.yaml: must hold keys and values, not "),
        (
            "name: !!python/object/apply:os.mkdir [made]",
            "other.yaml: only plain YAML values are read; the tag !!python/object",
        ),
    ],
)
def test_a_file_that_is_no_sweep_is_one_line(folder, capsys, text, line):
    if text is not None:
        (folder / "other.yaml").write_text(text)
    before = contents(folder)
    assert main.main(["validate", "other.yaml"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith(f"error  {line}")
    assert contents(folder) == before
    assert not (folder / "made").exists()


def test_several_mistakes_are_a_line_each_with_the_files_lines(folder, capsys):
    (folder / "sweep.yaml").write_text(
        FILE.replace("block: stem", "block: layer9") + "    ema_decay: 1.2\n"
    )
    assert main.main(["validate", "sweep.yaml"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        'error  strategies.surgical.block: the model has no layer "layer9"; it has'
        " stem, layer1, layer2, layer3, layer4, head (line 6)",
        "error  strategies.bvg_ls.ema_decay: 1.2 is outside (0, 1); the paper uses 0.9 (line 8)",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["vlidate"], "No such command 'vlidate'."),
        (["validate"], "Missing argument 'FILE'."),
        (["validate", "sweep.yaml", "--sett", "a=b"], "No such option: --sett"),
        (["validate", "sweep.yaml", "--set", "epochs"], '--set: "epochs" is not of the form'),
    ],
)
def test_a_mistake_in_the_command_is_one_line(folder, capsys, arguments, line):
    assert main.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith(f"error  {line}")


def test_init_never_overwrites(folder, capsys):
    assert main.main(["init", "sweep.yaml"]) == 2
    assert capsys.readouterr().err == "error  sweep.yaml: is there already; give another name\n"
    assert (folder / "sweep.yaml").read_text() == FILE


def test_init_into_a_folder_that_is_not_there_is_one_line(folder, capsys):
    assert main.main(["init", "no/such/folder.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error  no/such/folder.yaml: cannot be written: ")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, typer.Abort])
def test_ctrl_c_ends_with_130(folder, monkeypatch, interruption):
    def interrupted(*arguments):
        raise interruption

    monkeypatch.setattr(validate, "read_opened", interrupted)
    assert main.main(["validate", "sweep.yaml"]) == 130


def test_a_bug_is_not_taken_for_a_users_mistake(folder, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(validate, "read_opened", broken)
    with pytest.raises(ZeroDivisionError):
        main.main(["validate", "sweep.yaml"])


def test_the_command_prints_no_traceback(folder):
    done = subprocess.run(
        [sys.executable, "-m", "raysel", "validate", "missing.yaml"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 2
    assert done.stderr == "error  missing.yaml: there is no such file\n"
