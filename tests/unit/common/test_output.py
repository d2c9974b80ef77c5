"""What the command line writes is text in every terminal: never markup, never an escape sequence of
a stranger, never an error for want of a sign or of a reader."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table

from raysel.cli.main import main
from raysel.common import output
from raysel.common.errors import UserError
from raysel.common.rich_output import TextConsole, fitting_table, plain

HOSTILE = ["[/f]*c", "[bold]x", "[link=a]b[/link]", ":warning:", "\\[red]", "a]b[", "[", "[/]"]


@pytest.fixture
def console() -> TextConsole:
    return TextConsole(file=io.StringIO(), width=120, force_terminal=True, color_system=None)


def written(console: TextConsole) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_string_is_printed_as_it_stands(console, text):
    console.print(text)
    assert written(console) == f"{text}\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_a_column_and_a_title_are_text(console, text):
    table = Table(text)
    table.add_row(text)
    console.print(table)
    assert written(console).count(text) == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_a_printed_table_is_text(capsys, text):
    output.print_table((text, "size"), [(text, text)])
    assert capsys.readouterr().out.count(text) == 3


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_rewritten_in_place_is_text(console, text):
    with Live(plain(text, "bold"), console=console) as live:
        live.update(text)
    assert text in written(console)


def test_an_escape_sequence_is_shown_and_not_obeyed(console, capsys):
    console.print("a\x1b[2Jb\nc")
    output.print_table(("x\x1b",), [("y\x1b[31m\nz",)])
    output.say("s\x1b]0;title\x07", "t\u202eu")
    output.say_error("e\rf")
    shown = capsys.readouterr()
    assert written(console) == "a\\x1b[2Jb\\nc\n"
    assert "\x1b" not in shown.out + shown.err
    assert r"y\x1b[31m\nz" in shown.out
    assert shown.out.endswith("s\\x1b]0;title\\x07\nt\\u202eu\n")
    assert shown.err == "e\\rf\n"


def test_a_long_line_and_a_long_cell_are_cut(capsys):
    output.say("x" * 1_000_000)
    output.print_table(("name",), [("y" * 1_000_000,)])
    assert len(capsys.readouterr().out) < 1_600


def test_json_is_whole_and_strict(capsys):
    value = {"name": "\x1b[31m\u202e" + "n" * 5_000, "loss": float("nan")}
    output.print_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == {**value, "loss": None}
    assert "\x1b" not in out and "\u202e" not in out


# --- encodings ---------------------------------------------------------------------------------


def ascii_streams(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Standard output and error as `PYTHONIOENCODING=ascii` makes them; to be called by the test
    itself, for pytest sets its own streams after the fixtures."""
    out = io.BytesIO()
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(out, encoding="ascii", errors="strict", write_through=True)
        monkeypatch.setattr(sys, name, stream)
    return out


SWEEP = """
name: d
task: {data: digits, split: {train: 64, validation: 64, test: 64, seed: 0}, source: 64}
model: {name: test_resnet, partition: ['conv1[a-z.0-9]*|bn1', 'layer[1234]', '[/f]*c']}
strategies: {full: , linear_probe: }
training: {epochs: 1, batch_size: 32, learning_rate: {float: [1e-3, 1e-2], log: true}}
search: {num_trials: 2}
"""


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        (["schema"], 0, b'"$defs"'),
        (["strategies"], 0, b"bvg_ls"),
        (["strategies", "bvg_ls"], 0, b"published"),
        (["validate", "jürgen.yaml"], 0, b"unlimited configurations - 2 trials"),
        (["validate", "jürgen.yaml", "--json"], 0, b'"valid": true'),
        (["validate", "漢.yaml"], 2, rb"\u6f22.yaml"),
        (["list", "--storage", "jürgen"], 0, rb"there is no sweep in j\xfcrgen/"),
        (["show", "größe"], 2, rb"gr\xf6\xdfe"),
        (["nö"], 2, rb"n\xf6"),
        (["--help"], 0, b"validate"),
    ],
)
def test_a_sign_that_the_encoding_lacks_is_replaced(arguments, code, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("jürgen.yaml").write_text(SWEEP, encoding="utf-8")
    out = ascii_streams(monkeypatch)
    assert main(arguments) == code
    assert shown in out.getvalue()


def test_the_brackets_of_layer_names_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SWEEP)
    assert main(["validate", "s.yaml"]) == 0
    out = capsys.readouterr().out
    for name in ("conv1[a-z.0-9]*|bn1", "layer[1234]", "[/f]*c"):
        assert f"\n{name} " in out


# --- streams ------------------------------------------------------------------------------------


def raysel(*arguments: str, redirect: str = "", **more: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, with its streams redirected by a shell."""
    command = f'"{sys.executable}" -m raysel {" ".join(arguments)} {redirect}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        check=False,
        env={**os.environ, **more},
    )


def test_a_closed_standard_output_ends_nothing_and_is_no_other_file():
    done = raysel("--version", redirect=">&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_reader_that_has_enough_ends_nothing():
    done = raysel("--version", redirect="| true")  # which has ended long before anything is written
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line():
    done = raysel("--version", redirect="> /dev/full")
    assert done.returncode == 1
    assert done.stderr == b"error  standard output cannot be written: No space left on device\n"


def test_a_process_with_an_ascii_terminal(tmp_path):
    done = raysel("init", str(tmp_path / "größe.yaml"), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"gr\xf6\xdfe.yaml written. Next" in done.stdout


# --- questions and logs -------------------------------------------------------------------------


def test_a_question_without_anybody_to_answer_names_the_option(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(UserError, match=r"^--yes: is needed where there is nobody to answer"):
        output.ask("Remove 3.0 MB?", "--yes")


@pytest.mark.parametrize(("answer", "agreed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_question_is_answered(monkeypatch, answer, agreed):
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert output.ask("Remove [bold]3.0 MB?", "--yes") is agreed


def test_a_log_is_printed_by_line_without_what_steers_a_terminal():
    out = io.StringIO()
    with output.LogPrinter(out) as log:
        for piece in (
            "\x1b[36m(pid=7)\x1b",
            "[0m one\ntw",
            "o\r",
            "\n 10 %\r 20",
            " %\r\n\x1b]0;t\x07end",
        ):
            log.write(piece)
    assert out.getvalue() == "(pid=7) one\ntwo\n 10 %\n 20 %\n\\x1b]0;t\\x07end\n"


def test_a_table_that_is_wider_than_the_terminal_is_a_paragraph_a_row():
    console = TextConsole(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    head, row = ("trial", "state", "validation error", ""), ("confirm-linear_probe-s0", "COMPLETE")
    console.print(fitting_table(console, head, [(*row, "0.781", "lr=0.01")], whole=(0, 1, 2)))
    assert [line.rstrip() for line in written(console).splitlines()] == [
        "trial",
        "confirm-linear_probe-s0",
        "state             COMPLETE",
        "validation error  0.781",
        "lr=0.01",
        "",
    ]


def test_a_table_that_fits_is_a_table():
    console = TextConsole(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    console.print(fitting_table(console, ("a", "b"), [("one", "two")]))
    assert [line.split() for line in written(console).splitlines()] == [["a", "b"], ["one", "two"]]


@pytest.mark.parametrize(
    ("answer", "code", "last"),
    [("n\n", 1, "nothing was removed"), ("", 2, ""), ("y\n", 0, "0.0 MB freed")],
)
def test_what_is_answered_before_something_is_removed(
    tmp_path, monkeypatch, capsys, answer, code, last
):
    from raysel.sweep import gc

    leftover = gc.Leftover(what="[/]a sweep", bytes=0, paths=(tmp_path / "gone",))
    monkeypatch.setattr(gc, "sweep_to_remove", lambda *_, **__: leftover)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert main(["rm", "a"]) == code
    assert capsys.readouterr().out.splitlines()[-1].endswith(last)
