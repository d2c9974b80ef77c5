"""What the files beside the code say of it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

import raysel

ROOT = Path(__file__).parents[3]


def test_the_citation_has_the_version_and_licence_of_the_package():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cited["version"] == raysel.__version__
    assert f'license = "{cited["license"]}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_hooks_of_pre_commit_run_what_the_makefile_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    hooks = {hook["id"]: hook["entry"] for repo in config["repos"] for hook in repo["hooks"]}
    lint = re.findall(r"\$\(BIN\)/(\w+)", (ROOT / "Makefile").read_text("utf-8"))
    for program in ("ruff", "mypy"):
        assert program in lint
        assert any(entry.startswith(f".venv/bin/{program}") for entry in hooks.values())
    named = [
        word for entry in hooks.values() for word in entry.split() if word.startswith("tests/")
    ]
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert named
