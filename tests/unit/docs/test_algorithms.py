"""What the code refers to by number stands in docs/algorithms.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "algorithms.md").read_text("utf-8")
SECTIONS = re.findall(r"^### (D\d+): ", PAGE, re.MULTILINE)
REFERENCE = re.compile(r"(?<![\w-])D\d{1,2}\b(?!\w)")
ELSEWHERE = re.compile(r"\berrata? \d|\balgorithm notes\b|\b(?:house|experience|speed)\.md\b", re.I)


def sources() -> list[Path]:
    """The text files that may refer to a decision."""
    listed = subprocess.run(
        ["git", "ls-files", "raysel", "tests", "search_spaces", "cluster", "docs", "README.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: git lists no files")
    kinds = (".py", ".yaml", ".md")
    paths = [ROOT / line for line in listed.stdout.splitlines() if line.endswith(kinds)]
    return [path for path in paths if path.is_file() and path != Path(__file__)]


def unknown(text: str) -> list[str]:
    """Decisions that a text refers to and that have no section."""
    return sorted(set(REFERENCE.findall(text)) - set(SECTIONS))


def test_a_decision_without_a_section_is_found():
    assert unknown("as D9 and (D99) say, in 2D1 and D1x") == ["D99"]


def test_every_number_has_one_section():
    assert len(SECTIONS) > 30
    assert sorted(SECTIONS) == sorted(set(SECTIONS))


def test_every_decision_that_is_referred_to_has_a_section():
    found = {str(path.relative_to(ROOT)): unknown(path.read_text("utf-8")) for path in sources()}
    assert {path: names for path, names in found.items() if names} == {}


def test_nothing_refers_to_notes_outside_the_repository():
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sources()
        for line in path.read_text("utf-8").splitlines()
        if ELSEWHERE.search(line)
    ]
    assert lines == []
