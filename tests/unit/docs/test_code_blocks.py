"""The code blocks of README, CONTRIBUTING and docs/: sweep files are read, commands are parsed by
the command line itself, Python is run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import typer
import yaml

from raysel.cli.main import app
from raysel.search.validate import check
from raysel.spec import reader
from raysel.spec.suite import read_suite

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

PYTHON_RUN_BY = {
    "docs/python.md": "tests/unit/test_public_api.py",
    "docs/results.md": "tests/unit/export/test_check.py",
    "docs/write-a-strategy.md": "tests/integration/test_user_code.py",
}
"""Pages whose Python needs a sweep, and the test that has one."""

PREPARED = """
from raysel.common.torchvision_compat import ensure_importable
ensure_importable()
"""
"""A CPU build of torch beside PyPI's torchvision: `import timm` fails without it."""

EACH_ALONE = """
import os, sys, torch, timm
for place, text in enumerate(sys.argv[1:]):
    if not (child := os.fork()):
        exec(text, {"__name__": "__main__"})
        sys.exit()
    if os.waitpid(child, 0)[1]:
        sys.exit(f"text {place} failed")
"""

REST = {
    "name": "fragment",
    "task": {"data": "digits", "split": {"train": 400}},
    "model": {"name": "resnet10t"},
    "strategies": {"full": None},
}
"""What makes a fragment a sweep file."""


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks() -> list[Block]:
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [
        Block(str(page.relative_to(ROOT)), *found)
        for page in PAGES
        for found in fence.findall(page.read_text("utf-8"))
    ]


def sweep_files() -> list[Block]:
    return [block for block in blocks() if block.language == "yaml"]


def command_lines() -> list[tuple[str, str]]:
    """(page, line) of every line that begins with `raysel`, continued ones joined."""
    found = []
    for block in blocks():
        if block.language:
            continue
        text = re.sub(r"\\\n\s*", "", block.text)
        found += [(block.page, line) for line in text.splitlines() if line.startswith("raysel ")]
    return found


def merged(fragment: dict[str, Any]) -> str:
    """A fragment as a whole sweep file."""
    whole = {**REST, **fragment}
    whole["task"] = {**REST["task"], **fragment.get("task", {})}
    return yaml.safe_dump(whole)


def wrong_with(line: str) -> str | None:
    """What the command line has against a line of a guide; None if nothing."""
    name, *arguments = shlex.split(line, comments=True)[1:]
    if name not in COMMANDS:
        return f"there is no command {name}"
    try:
        COMMANDS[name].make_context(name, arguments)
    except (click.ClickException, Exception) as error:
        return f"{type(error).__name__}: {error}"
    return None


def options_of(name: str) -> set[str]:
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


# --- sweep files -----------------------------------------------------------------------------


def test_there_are_blocks_of_each_kind():
    assert len(sweep_files()) > 8
    assert len(command_lines()) > 50


@pytest.mark.parametrize(
    "block", sweep_files(), ids=lambda b: f"{b.page}-{b.text.split(chr(10))[0]}"
)
def test_a_sweep_file_is_read_as_it_stands(block):
    given = yaml.safe_load(block.text)
    text = block.text if "model" in given else merged(given)
    file = reader.SweepFile("block", text)
    if "axes" in given:
        assert [check(cell.spec) for cell in read_suite(file).cells if check(cell.spec)] == []
        return
    spec = file.spec()
    if isinstance(spec.task.data, str) and not spec.code_files:
        assert check(spec) == []


@pytest.mark.slow
def test_the_strategy_of_the_guide_is_found_valid_with_its_sweep_file(tmp_path):
    page = "docs/write-a-strategy.md"
    of_page = {block.language: block.text for block in blocks() if block.page == page}
    (tmp_path / "my_strategy.py").write_text(of_page["python"], encoding="utf-8")
    file = tmp_path / "sweep.yaml"
    file.write_text(merged(yaml.safe_load(of_page["yaml"])), encoding="utf-8")
    command = [sys.executable, "-m", "raysel", "validate", str(file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistake_in_a_sweep_file_is_seen():
    with pytest.raises(Exception, match="num_trail"):
        reader.parse(merged({"search": {"num_trails": 3}}))


# --- commands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", sorted({line for page, line in command_lines() if page != "README.md"})
)
def test_a_command_of_a_guide_is_one(line):
    assert wrong_with(line) is None


@pytest.mark.parametrize(
    "line", ["raysel rum a.yaml", "raysel run a.yaml --sett b=1", "raysel run"]
)
def test_a_mistake_in_a_command_is_seen(line):
    assert wrong_with(line) is not None


def test_the_readme_has_every_command_with_options_that_are_there():
    named: list[str] = []
    for page, line in command_lines():
        if page != "README.md":
            continue
        usage, _, _ = line.partition("  ")
        names = [word.strip(",") for word in usage.replace("raysel", "").split()]
        found = [name for name in names if name in COMMANDS]
        assert found, line
        allowed = set().union(*(options_of(name) for name in found))
        assert set(re.findall(r"--[a-z-]+", line)) <= allowed, line
        named += found
    assert set(named) == set(COMMANDS)


def test_every_make_target_that_is_named_is_there():
    named = {
        found
        for block in blocks()
        for found in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)
    }
    assert {"sweep", "docs", "test"} <= named
    assert named <= TARGETS


# --- Python ----------------------------------------------------------------------------------


def run_python(texts: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Each text by itself, in a fork of a process that has loaded the libraries once."""
    command = [sys.executable, "-c", PREPARED + EACH_ALONE, *texts]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_python_that_fails_is_seen(tmp_path):
    assert run_python(["1", "import raysel\nraysel.nothing_of_this_name"], tmp_path).returncode == 1


def test_python_of_a_page_runs_or_is_run_by_a_test_that_names_the_page(tmp_path):
    pages = {block.page for block in blocks() if block.language == "python"}
    assert set(PYTHON_RUN_BY) <= pages
    for page, test in PYTHON_RUN_BY.items():
        assert Path(page).name in (ROOT / test).read_text("utf-8")
    others = [b for b in blocks() if b.language == "python" and b.page not in PYTHON_RUN_BY]
    done = run_python([block.text for block in others], tmp_path)
    assert done.returncode == 0, f"{[block.page for block in others]}: {done.stderr}"


# --- size ------------------------------------------------------------------------------------


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 150
