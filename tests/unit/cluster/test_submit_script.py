"""cluster/submit.py: the one file that `ray submit` copies."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "cluster" / "submit.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, alone in a folder as on the head, with a mounted folder beside it."""
    alone = tmp_path / "home" / "submit.py"
    alone.parent.mkdir()
    alone.write_text(SCRIPT.read_text("utf-8"), encoding="utf-8")
    mounted = tmp_path / "mounted"
    (mounted / "search_spaces").mkdir(parents=True)
    (mounted / "search_spaces" / "digits.yaml").write_text("name: digits\n")
    monkeypatch.setenv("RAYSEL_HOME", str(mounted))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.chdir(alone.parent)
    spec = importlib.util.spec_from_file_location("submit_alone", alone)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("given", ["search_spaces/digits.yaml", "digits.yaml", "./digits.yaml"])
def test_the_file_is_found_in_the_mounted_folder(script, given):
    assert script.found(given) == script.MOUNTED / "search_spaces" / "digits.yaml"


def test_it_hands_over_to_raysel_submit_with_all_that_follows(script, monkeypatch):
    reported = []
    monkeypatch.setattr("raysel.cli.main.main", lambda arguments: reported.append(arguments) or 7)
    code = script.main(["digits.yaml", "--set", "search.num_trials=3"])
    file = str(script.MOUNTED / "search_spaces" / "digits.yaml")
    wanted = ["submit", file, "--address", "http://127.0.0.1:8265", "--set", "search.num_trials=3"]
    assert (reported, code) == ([wanted], 7)


def test_a_file_that_is_not_there_is_reported_in_one_line(script, capsys):
    assert script.main(["flowers.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error  flowers.yaml: is not in ")


def test_without_a_file_it_says_what_it_is_for(script, capsys):
    assert script.main([]) == 2
    assert "ray submit cluster/local.yaml" in capsys.readouterr().err
