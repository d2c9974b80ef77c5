"""What `raysel list` and `raysel show` show, and what they load for it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from few_kit import several
from view_kit import FILE, FINISHED, make, started

from raysel.cli.main import main
from raysel.record.events import Event, Kind
from raysel.spec.reader import parse_resolved

REACHED = {"0000": (0.3, 10.0), "0001": (0.2, 20.0), "0002": (0.4, 15.0)}


@pytest.fixture
def storage(tmp_path: Path) -> str:
    events = []
    for number, (trial, (error, seconds)) in enumerate(REACHED.items()):
        values = {"val/error": error, "cost/seconds": seconds}
        facts = {"status": "COMPLETE", "value": error, "values": values, "cause": None}
        events += [started(trial, number), Event(trial, Kind.ENDED, 1, 9.0, facts)]
    spec = parse_resolved(FILE.format("two") + "objective: {secondary: [cost/seconds]}\n")
    make(tmp_path, "two", *events, FINISHED, spec=spec.to_yaml())
    return str(tmp_path)


def test_every_objective_has_a_column_and_the_front_a_mark(
    storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "two", "--storage", storage]) == 0
    out = capsys.readouterr().out
    rows = {words[0]: words for line in out.splitlines() if (words := line.split())}
    assert rows["search"] == ["search", "state", "epochs", "val/error", "cost/seconds", "seconds"]
    assert rows["0000"] == ["0000", "*", "COMPLETE", "0/0", "0.300", "10.0", "0.0", "full"]
    assert rows["0001"] == ["0001", "*", "COMPLETE", "0/0", "0.200", "20.0", "0.0", "full"]
    assert rows["0002"] == ["0002", "COMPLETE", "0/0", "0.400", "15.0", "0.0", "full"]
    assert "* no other trial dominates it" in out


def test_a_script_has_them_too(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "two", "--storage", storage, "--json"]) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    assert [trial["on_front"] for trial in trials] == [True, True, False]
    assert trials[2]["values"] == {"val/error": 0.4, "cost/seconds": 15.0}
    assert main(["show", "two", "1", "--storage", storage, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["on_front"] is True


def test_range_tests_have_a_table_before_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"range/steps": 37.0, "range/suggested": 0.01234}
    events = []
    for number, (arm, metrics) in enumerate({"full": found, "surgical": None}.items()):
        start = started(f"range-{arm}", number, arm)
        events.append(replace(start, payload={**start.payload, "phase": "range"}))
        if metrics:
            facts = {"status": "COMPLETE", "value": None, "metrics": metrics, "cause": None}
            events.append(Event(f"range-{arm}", Kind.ENDED, 0, 9.0, facts))
    make(tmp_path, "one", *events)
    assert main(["show", "one", "--storage", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    rows = {words[0]: words for line in out.splitlines() if (words := line.split())}
    assert rows["range"] == ["range", "test", "state", "steps", "suggested"]
    assert rows["range-full"] == ["range-full", "COMPLETE", "37", "0.012"]
    assert rows["range-surgical"][:2] == ["range-surgical", "INTERRUPTED"]
    assert main(["show", "one", "--storage", str(tmp_path), "--json"]) == 0
    (full, _) = json.loads(capsys.readouterr().out)["range_tests"]
    assert (full["steps"], full["suggested"]) == (37, 0.01234)
    assert main(["show", "one", "range-full", "--storage", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["end_metrics"] == found
    assert main(["show", "one", "range-full", "--storage", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Complete after 37 steps, suggests the learning rate 0.012." in out
    assert "gone" not in out  # it has no files


@pytest.mark.parametrize("verb", several(1, [["list"], ["show", "two"]]), ids=" ".join)
def test_a_look_loads_no_library_that_it_does_without(storage: str, verb: list[str]) -> None:
    heavy = ("torch", "timm", "ray", "mlflow", "optuna", "matplotlib", "pandas", "scipy.stats")
    script = (
        "import sys; from raysel.cli.main import main; code = main(sys.argv[1:]);"
        f"print('loaded', code, [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *verb, "--storage", storage],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "loaded 0 []", done.stderr
