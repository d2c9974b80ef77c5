"""What the files of cluster/ and the pages of docs/ name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KINDS = (".md", ".yaml", ".sbatch")
FILES = sorted(path for path in (ROOT / "cluster").rglob("*") if path.suffix in KINDS)
PAGES = sorted((ROOT / "docs").rglob("*.md"))
NAMED = re.compile(r"(?<![\w./-])(?:cluster|search_spaces)/[\w./-]*\w")


def missing(text: str) -> list[str]:
    """Paths of the repository that are not there and have no example to be copied from."""
    named = sorted(set(NAMED.findall(text)))
    return [n for n in named if not any((ROOT / f"{n}{end}").exists() for end in ("", ".example"))]


def test_a_path_that_is_not_there_is_seen():
    assert missing("ray up cluster/local.yaml, see cluster/NOWHERE.md.") == ["cluster/NOWHERE.md"]


@pytest.mark.parametrize("path", [*FILES, *PAGES], ids=lambda path: path.name)
def test_every_path_that_is_named_exists(path):
    assert missing(path.read_text("utf-8")) == []


def test_the_readme_names_every_file_for_a_person():
    reported = (ROOT / "cluster" / "README.md").read_text("utf-8")
    files = [path.relative_to(ROOT).as_posix() for path in FILES if path.suffix != ".md"]
    assert [file for file in files if file not in reported] == []
