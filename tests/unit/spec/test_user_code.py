"""Files of the user's own: read once, run once in a process, every mistake one line."""

import hashlib
import os
import pickle
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

from raysel.cli import main
from raysel.common.code_exits import CodeExit, as_exceptions
from raysel.common.errors import UserError
from raysel.models.layers import Layer, Partition
from raysel.spec import user_code
from raysel.spec.reader import parse
from raysel.spec.sweep import CodeFile
from raysel.strategies import base, registered, registry

MINE = """\
from raysel.strategies.base import Decision, Strategy, register
import torch

@register
class Mine(Strategy):
    name = "mine"
    summary = "everything moves"
    paper = "none"

    def decide(self, step):
        return Decision(torch.ones(len(self.partition)))
"""

SWEEP = """\
name: own
task: {data: digits}
model: {name: test_resnet}
code_files: [lib/mine.py]
strategies:
  mine:
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder; what the test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "mine.py").write_text(MINE)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("raysel_code_"):
            del sys.modules[name]


def source(text: str, name: str = "mine.py") -> user_code.Source:
    return user_code.Source(str(Path(name).absolute()), text)


def reported(text: str) -> str:
    with pytest.raises(UserError) as raised:
        user_code.load([source(text)])
    return str(raised.value)


def test_a_file_is_read_relative_to_the_sweep_file_and_named_by_its_hash(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    from raysel.search.validate import read

    spec = read(Path("../sweep.yaml"))
    (file,) = spec.listed_code
    assert Path(file.path).samefile(folder / "lib" / "mine.py")
    assert file.sha256 == hashlib.sha256(MINE.encode()).hexdigest()
    assert parse(spec.to_yaml()) == spec
    assert "mine" in registered()


def test_the_same_text_runs_once_in_a_process():
    text = "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\n"
    import builtins

    builtins.runs = 0
    user_code.load([source(text)])
    user_code.load([source(text)])
    assert builtins.runs == 1
    user_code.load([source(text + "# another\n")])
    assert builtins.runs == 2
    del builtins.runs


def test_a_changed_file_replaces_its_strategy():
    user_code.load([source(MINE)])
    user_code.load([source(MINE.replace("everything moves", "nothing new"))])
    assert registered()["mine"].summary == "nothing new"


def test_what_a_file_defines_can_be_pickled():
    user_code.load([source("class Thing:\n    pass\n", "my-things.py")])
    thing = sys.modules["raysel_code_my-things"].Thing()
    assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


def test_future_imports_of_this_package_do_not_reach_the_file():
    user_code.load([source("def f(x: int): ...\nassert f.__annotations__['x'] is int\n")])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\ndef f(:\n", "mine.py: is not Python: invalid syntax (line 2)"),
        ("\n\nraise RuntimeError('no\\nway')", "mine.py: RuntimeError: no (line 3)"),
        ("def f():\n    1 / 0\n\nf()", "mine.py: ZeroDivisionError: division by zero (line 2)"),
        ("import sys\nsys.exit(3)", "mine.py: SystemExit: 3 (line 2)"),
        ("import there_is_none", "mine.py: ModuleNotFoundError: No module named 'there_is_none'"),
        ("\0", "mine.py: "),
        (
            MINE.replace('"mine"', '"bvg_ls"'),
            'mine.py: ValueError: two strategies are named "bvg_ls"; the other is '
            "raysel.strategies.bias_variance.BiasVarianceGuided (line ",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_its_place(text, line):
    message = reported(text)
    assert message.startswith(line)
    assert "\n" not in message


DECLARED = MINE.replace("Strategy, register", "Parameter, Strategy, register")
PARAMETER = "    parameters = (Parameter({}),)\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            DECLARED.replace('    summary = "everything moves"\n', ""),
            'ValueError: Mine: summary is missing; write summary = "…" in the class (line 4)',
        ),
        (
            DECLARED.replace('"mine"', '"my own"'),
            'ValueError: Mine: name "my own" is not of letters, digits, _ and - alone (line 4)',
        ),
        (DECLARED.replace("decide", "decided"), "ValueError: Mine: decide() is missing (line 4)"),
        (
            DECLARED.replace("Mine(Strategy)", "Mine"),
            "TypeError: Mine is not a strategy; write class Mine(Strategy): (line 4)",
        ),
        (
            DECLARED.replace("    def", '    parameters = (Parameter("a", "int", 1, ""))\n    def'),
            "ValueError: Mine: parameters is not a tuple of Parameter(…); "
            "(a,) with a comma is one of one (line 4)",
        ),
        (
            DECLARED.replace("    def", '    needs = {"source"}\n    def'),
            "ValueError: Mine: needs is not a set of source_inputs, source_labels (line 4)",
        ),
        (
            DECLARED.replace("    def", '    published = {"epochs": 3}\n    def'),
            "ValueError: Mine: published is no TrainingOverride(…) (line 4)",
        ),
        (
            DECLARED.replace("    def", PARAMETER.format('"a", "integer", 1, ""') + "    def"),
            'ValueError: parameter a: no kind is called "integer"; did you mean "int"? (line 10)',
        ),
        (
            DECLARED.replace(
                "    def", PARAMETER.format('"a", "int", 1, "", search=(1, 5)') + "    def"
            ),
            "ValueError: parameter a: search is (1, 5); give IntRange(…) or Choice(…), or nothing"
            " (line 10)",
        ),
        (
            DECLARED.replace(
                "    def", PARAMETER.format('"a", "float", 2, "", high=1') + "    def"
            ),
            "ValueError: parameter a: its default: 2 is outside (-inf, 1] (line 10)",
        ),
    ],
)
def test_a_mistake_in_a_strategy_is_one_line_with_its_place(text, line):
    assert reported(text) == f"mine.py: {line}"


def test_a_file_that_failed_is_tried_again():
    reported("1 / 0")
    assert "ZeroDivisionError" in reported("1 / 0")


def test_two_files_of_the_user_cannot_share_a_strategys_name():
    user_code.load([source(MINE)])
    with pytest.raises(UserError, match=r'^other.py: ValueError: two strategies are named "mine"'):
        user_code.load([source(MINE, "other.py")])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["none.py"], r"^code_files.0: there is no file none.py$"),
        (["lib/mine.py", "lib"], r'^code_files.1: "lib" is not a \.py file$'),
        (["lib/mine.py", "mine.py"], r"^code_files: two files are called mine.py; rename one$"),
        (["binary.py"], r"^code_files.0: binary.py is not text in UTF-8$"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(folder, files, message):
    (folder / "mine.py").write_text(MINE)
    (folder / "binary.py").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=message):
        user_code.read([CodeFile(path=name) for name in files], folder)


def test_a_copy_that_was_changed_is_refused(folder):
    file = CodeFile(path="lib/mine.py", sha256=hashlib.sha256(MINE.encode()).hexdigest())
    user_code.read([file], folder)
    (folder / "lib" / "mine.py").write_text(MINE + "\n")
    with pytest.raises(UserError, match="has changed since the sweep began"):
        user_code.read([file], folder)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("[lib/mine.py, nope.py]", "error  code_files.1: there is no file nope.py (line 4)"),
        ("lib/mine.py", 'error  code_files: "lib/mine.py" is not accepted; give a list (line 4)'),
        (
            "[{pth: lib/mine.py}]",
            'error  code_files.0.pth: unknown key; did you mean "path"? (line 4)',
        ),
    ],
)
def test_the_command_line_reports_mistakes_with_the_files_line(folder, capsys, code, line):
    (folder / "sweep.yaml").write_text(SWEEP.replace("[lib/mine.py]", code))
    assert main.main(["validate", "sweep.yaml"]) == 2
    assert line in capsys.readouterr().err.splitlines()


def test_broken_code_ends_validation_with_2_and_one_line(folder, capsys):
    (folder / "lib" / "mine.py").write_text(MINE.replace("import torch", "import torhc"))
    before = sorted(folder.rglob("*"))
    assert main.main(["validate", "sweep.yaml"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error  lib/mine.py: ModuleNotFoundError: No module named 'torhc'")
    assert err.endswith("(line 2)\n")
    assert sorted(folder.rglob("*")) == before


def test_the_example_keeps_the_contract_of_an_nonfinite_step():
    example = Path(__file__).parents[2] / "integration" / "example_strategy.py"
    user_code.load_from([example])
    layers = Partition(tuple(Layer(name, (name,), (1,)) for name in "ab"), ())
    strategy = registered()["fair_share"](layers, {})
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in "ab"]

    def step(norms: list[float], finite: bool) -> base.Step:
        return base.Step(
            1, parameters, [torch.ones(1)] * 2, torch.tensor(norms, dtype=torch.float64),
            torch.tensor([0, 1]), 2, None, 0.0, torch.tensor(finite),
        )  # fmt: skip

    assert strategy.decide(step([1.0, 9.0], True)).weights.tolist() == [0, 1]
    strategy.decide(step([float("nan"), 1.0], False))
    assert strategy.state_dict()["counts"].tolist() == [0, 1]
    assert strategy.decide(step([4.0, 9.0], True)).weights.tolist() == [1, 0]


# --- what is no Exception ---------------------------------------------------------------------

LEAVING = ["raise SystemExit(3)", "import sys; sys.exit()", "raise GeneratorExit",
           "raise type('K', (KeyboardInterrupt,), {})('x')", "raise BaseException('b')",
           "raise KeyboardInterrupt", "try: int('x')\nexcept ValueError: raise KeyboardInterrupt",
           "import argparse; argparse.ArgumentParser().parse_args(['--x'])"]  # fmt: skip


@pytest.mark.parametrize("statement", LEAVING)
def test_a_file_that_leaves_is_a_mistake_of_the_user(tmp_path, statement):
    (tmp_path / "mine.py").write_text(f"\n{statement}\n")
    source = user_code.Source(str(tmp_path / "mine.py"), f"\n{statement}\n")
    with pytest.raises(UserError, match=r"mine\.py: .*\(line [2-4]\)"):
        user_code.load([source])


@pytest.mark.parametrize("statement", LEAVING)
def test_code_that_leaves_while_it_is_called_raises_an_exception(statement):
    with pytest.raises(CodeExit, match="the code raised "), as_exceptions():
        exec(statement, {"__name__": "raysel_code_mine"})


@pytest.mark.parametrize(
    "statement",
    ["while True: pass", "import time; time.sleep(9)", "try:\n while True: pass\nfinally: x = 1",
     "try:\n while True: pass\nexcept KeyboardInterrupt: raise"],
)  # fmt: skip
def test_ctrl_c_while_the_users_code_runs_is_an_interrupt(statement):
    # a shell starts what runs in the background with this signal ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    hurry = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    hurry.start()
    try:
        with pytest.raises(KeyboardInterrupt), as_exceptions():
            exec(statement, {"__name__": "raysel_code_mine"})
    finally:
        hurry.join()
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_and_a_signal_go_through():
    with pytest.raises(KeyboardInterrupt), as_exceptions():
        raise KeyboardInterrupt
    with pytest.raises(SystemExit), as_exceptions():
        exec("raise SystemExit(143)", {"__name__": "raysel.cli.main"})  # raysel's own handler
    with pytest.raises(SystemExit), as_exceptions():
        exec("raise SystemExit(1)", {"__name__": "ray._private.worker"})


def test_the_command_line_reports_of_code_that_leaves(monkeypatch, capsys):
    def leave(*_, **__):
        exec("raise SystemExit(0)", {"__name__": "mine"})

    monkeypatch.setattr("raysel.cli.main.app", leave)
    assert main.main(["validate", "x.yaml"]) == 2
    assert capsys.readouterr().err == "error  the code raised SystemExit: 0\n"
