"""Render the end of `raysel run`: the confirm table, the verdict, and where the files are."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType

from raysel.common.rich_output import TextConsole, fitting_table, plain
from raysel.common.text import count_of
from raysel.record.mlflow_page import mlflow_lines
from raysel.report.search_front import front_rows, heads
from raysel.report.tables import confirm_rows
from raysel.sweep.outcome import Outcome
from raysel.sweep.results import SweepResults
from raysel.sweep.start_suite import SuiteOutcome
from raysel.sweep.verdict_words import measure_in_words

SHOWN = ("better", "worse")
FRONT_ROWS = 10
"""Of the Pareto front in a terminal; the report has all."""
_STAR = "shown to differ from full fine-tuning after Holm's correction; intervals are uncorrected"
_EDGE = "at an edge of the searched range, beyond which a better value may lie"


def outcome_lines(console: TextConsole, outcome: Outcome) -> RenderableType:
    """Lines for a terminal; paths are relative where that is shorter to type."""
    results = outcome.results
    parts: list[RenderableType] = []
    rows = confirm_rows(results)
    if rows:
        head = (
            *("strategy", measure_in_words(results.verdict.measure), "minus full, points"),
            *("layers moved", "parameters", "tuned on", "seconds"),
        )
        cells = [
            (
                f"{row.strategy} ◂" if row.winner else row.strategy,
                *(row.measured, row.against_full, row.layers, row.parameters, row.tuned_on),
                "" if row.seconds is None else f"{row.seconds:.1f}",
            )
            for row in rows
        ]
        parts += [fitting_table(console, head, cells, numbers=(6,)), ""]
        if any(comparison.outcome in SHOWN for comparison in results.verdict.against_baseline):
            parts[-1:] = [plain(f"* {_STAR}"), ""]
        if edges := [f"{row.strategy} {row.at_edge}" for row in rows if row.at_edge]:
            parts.insert(-1, plain(f"{_EDGE}: {'; '.join(edges)}"))
    parts += _front(console, results)
    parts.append(plain(f"verdict  {results.verdict.sentence}"))
    if outcome.changed:
        parts.append(plain(f"changed  {outcome.changed}"))
    if not outcome.complete:
        parts.append(plain(f"stopped  {outcome.cause}; what is finished stays"))
        parts.append(plain(f"go on    {outcome.resume}"))
    parts.append("")
    if outcome.report is not None:
        parts.append(plain(f"report   {_near(outcome.report)}"))
    parts += _in_mlflow(outcome.folder.path, outcome.tracking_uri)
    if outcome.model is not None:
        parts.append(plain(f"model    {_near(outcome.model)}"))
    return Group(*parts)


def _front(console: TextConsole, results: SweepResults) -> list[RenderableType]:
    """The Pareto front of a search with several objectives, and that the rest is in the report."""
    rows = front_rows(results)
    if not rows:
        return []
    head = ("Pareto front", *heads(results), "test error", "trial")
    cells = [
        (f"{row.strategy} {row.values}".strip(), *row.reached, row.test_error, row.trial)
        for row in rows[:FRONT_ROWS]
    ]
    numbers = tuple(range(1, len(head) - 1))
    more = [plain(f"and {len(rows) - FRONT_ROWS} more")] if len(rows) > FRONT_ROWS else []
    return [fitting_table(console, head, cells, numbers=numbers), *more, plain("")]


def suite_lines(outcome: SuiteOutcome) -> RenderableType:
    """How a suite ended, for a terminal."""
    cells = count_of(outcome.cells, "cell")
    head = f"{outcome.folder.name} · {outcome.complete} of {cells} complete"
    parts: list[RenderableType] = [plain(head)]
    parts += [plain(f"failed   {name}: {why}") for name, why in outcome.failed.items()]
    if outcome.cause is not None:
        parts.append(plain(f"stopped  {outcome.cause}; what is finished stays"))
    if outcome.complete < outcome.cells:
        parts.append(plain(f"go on    {outcome.resume}"))
    parts.append(plain(""))
    if outcome.report is not None:
        parts.append(plain(f"report   {_near(outcome.report)}"))
    parts += _in_mlflow(outcome.folder.path, outcome.tracking_uri)
    return Group(*parts)


def _in_mlflow(folder: Path, uri: str) -> list[RenderableType]:
    lines = mlflow_lines(folder, uri)
    return [plain(f"{head:9}{line}") for head, line in zip(("mlflow", ""), lines, strict=False)]


def _near(path: Path) -> str:
    """The path as a person types it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
