"""The end of `raysel run` in the terminal: table, remarks, verdict."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from confirm_kit import effort, entry

from raysel.cli.render_outcome import outcome_lines
from raysel.common.rich_output import TextConsole
from raysel.sweep.question import Question
from raysel.sweep.results import Objective, SweepResults, TrialResult
from raysel.sweep.verdict import verdict

FULL = [0.300, 0.320, 0.280, 0.310, 0.290]
CLEAR = [error - d for error, d in zip(FULL, [0.050, 0.052, 0.048, 0.051, 0.049], strict=True)]


def shown(
    *contrasts: tuple[str, str],
    at_edge: tuple[str, ...] = (),
    measure: str = "test/error",
    metric: str = "val/error",
    **more: Any,
) -> list[str]:
    """The lines over two strategies, whose test error is 0.9 where another metric is compared."""
    plainly = {} if measure == "test/error" else {"test/error": 0.9}
    entries = [
        entry(name, errors, measure=measure, **plainly)
        for name, errors in (("bvg_ls", CLEAR), ("full", FULL))
    ]
    efforts = {name: effort(name) for name in ("bvg_ls", "full")}
    efforts["bvg_ls"] = efforts["bvg_ls"].model_copy(update={"at_edge": at_edge})
    question = Question(metric, ("bvg_ls", "full"), splits=5, contrasts=contrasts, effort=efforts)
    results = SweepResults(
        name="toy",
        **{"trials": ()} | more,
        confirm=tuple(entries),
        verdict=verdict(entries, question),
        effort=tuple(efforts.values()),
    )
    plain: dict[str, Any] = {"results": results, "complete": True, "report": None, "model": None}
    outcome: Any = SimpleNamespace(
        **plain, tracking_uri="sqlite:///x.db", folder=SimpleNamespace(path=Path()), changed=""
    )
    console = TextConsole(file=io.StringIO(), width=400)
    with console.capture() as capture:
        console.print(outcome_lines(console, outcome))
    return [line.strip() for line in capture.get().splitlines()]


def test_the_pareto_front_of_several_objectives_stands_above_the_verdict() -> None:
    assert not any(line.startswith("Pareto front") for line in shown())
    trials = tuple(
        TrialResult(
            id=f"{number:04d}",
            strategy="full",
            status="COMPLETE",
            searched={"learning_rate": 0.01},
            values={"val/error": 0.1 + number / 100, "cost/seconds": 20.0 - number},
        )
        for number in range(12)
    )
    front = {
        "trials": trials,
        "objective": Objective(secondary=("cost/seconds",)),
        "pareto_front": tuple(trial.id for trial in trials),
    }
    lines = shown(**front)
    (first,) = (n for n, line in enumerate(lines) if line.startswith("Pareto front"))
    assert "validation error" in lines[first] and "seconds a trial" in lines[first]
    shown_values = ["full", "learning_rate", "0.01", "0.100", "20.0", "–", "0000"]
    assert lines[first + 1].split() == shown_values
    assert lines[first + 11] == "and 2 more"
    assert first < next(n for n, line in enumerate(lines) if line.startswith("verdict"))


def test_the_verdict_is_one_line_that_names_the_better_one() -> None:
    (line,) = (line for line in shown() if line.startswith("verdict"))
    assert line.startswith("verdict  The search chose bvg_ls by validation error. bvg_ls against")
    assert line.endswith("bvg_ls is better on these splits.")


def test_contrasts_of_the_file_stand_before_the_search() -> None:
    (line,) = (line for line in shown(("full", "bvg_ls")) if line.startswith("verdict"))
    assert line.startswith("verdict  Full fine-tuning against bvg_ls: +5.0 points")
    assert line.index("bvg_ls is better") < line.index("The search chose")


def test_a_shown_difference_has_a_star_that_is_explained() -> None:
    lines = shown()
    assert any(line.startswith("bvg_ls ◂") and "−5.0 (−5.2 to −4.8) *" in line for line in lines)
    assert any(line.startswith("* shown to differ from full fine-tuning") for line in lines)


def test_the_table_shows_the_metric_that_the_points_are_of() -> None:
    """Worst-group error as the objective: mean 0.25 and 0.30, Student's t over five runs."""
    assert re.split(" {2,}", shown()[0])[1] == "test error"
    lines = shown(measure="test/worst_group_error", metric="val/worst_group_error")
    assert [cell.strip() for cell in re.split(" {2,}", lines[0])][:3] == [
        *("strategy", "worst-group test error", "minus full, points")
    ]
    first = next(line for line in lines if line.startswith("bvg_ls ◂"))
    assert re.split(" {2,}", first)[1] == "0.250 ± 0.018"
    assert "0.900" not in first


def test_a_value_at_an_edge_of_its_range_is_named_with_what_that_means() -> None:
    (line,) = (
        line
        for line in shown(at_edge=("learning_rate=0.1",))
        if "edge of the searched range" in line
    )
    assert line.endswith("beyond which a better value may lie: bvg_ls learning_rate=0.1")
    assert not any("edge" in line for line in shown())
