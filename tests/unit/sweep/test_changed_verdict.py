"""A verdict that is made anew over the same runs says what differs, and by which version."""

from __future__ import annotations

from typing import Any

import pytest
from results_kit import typed

from raysel.record.layout import SweepFolder, write_json
from raysel.sweep.changed_verdict import changed_on_disk, changed_verdict


def results(version: str = "1", error: float = 0.1, **verdict: Any) -> Any:
    own = {"ours": "bvg_ls", "theirs": "full", "outcome": "not_shown", "low": -0.005, "high": 0.004}
    run = {"id": "confirm-full-s0", "seed": 0, "test/error": error}
    content = {"winner": "bvg_ls", "against_baseline": [own], **verdict}
    return typed(
        {
            "sweep_id": "toy-1",
            "status": "complete",
            "confirm": [{"strategy": "full", "runs": [run]}],
            "verdict": content,
            "versions": {"raysel": version},
        }
    )


def comparison(**changed: Any) -> dict[str, Any]:
    own = {"ours": "bvg_ls", "theirs": "full", "outcome": "not_shown", "low": -0.005, "high": 0.004}
    return {"contrasts": [own | changed]}


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ({"winner": "full"}, "winner full, was bvg_ls"),
        (comparison(low=-0.0071), "bvg_ls - full −0.71 to +0.40 points, was −0.50 to +0.40"),
        (comparison(outcome="better"), "bvg_ls - full better, was not shown"),
        ({"level": 0.01}, "level 0.01, was 0.05"),
    ],
)
def test_what_differs_is_said_with_both_versions(verdict: dict[str, Any], words: str) -> None:
    line = changed_verdict(results("1.0"), results("1.1", **verdict))
    assert line == (
        "the verdict was made anew by raysel 1.1, before by raysel 1.0, over the same runs: "
        f"{words}"
    )


@pytest.mark.parametrize(
    "after",
    [
        results("1.1"),
        results("1.1", sentence="in other words"),
        results("1.1", error=0.2, winner="full"),  # other runs: of course it differs
        results("1.1", **comparison(low=-0.005001)),
    ],
)
def test_the_same_verdict_or_one_over_other_runs_is_not_mentioned(after: Any) -> None:
    assert changed_verdict(results(), after) == ""


def test_it_is_compared_with_the_file_of_the_sweep_where_there_is_one(tmp_path: Any) -> None:
    folder, after = SweepFolder(tmp_path), results("1.1", winner="full")
    assert changed_on_disk(folder, after) == ""
    write_json(folder.results, results("1.0").to_dict())
    assert "winner full, was bvg_ls" in changed_on_disk(folder, after)
    folder.results.write_text("{", encoding="utf-8")
    assert changed_on_disk(folder, after) == ""
