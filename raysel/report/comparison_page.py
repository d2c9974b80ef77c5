"""`raysel report A B C`: one page that sets several sweeps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from raysel.common.text import one_line
from raysel.record.layout import write_whole
from raysel.report import comparison, drawing
from raysel.report.comparison import Compared, every_strategy, mean_ranks
from raysel.report.drawing import drawn
from raysel.report.page import badge, safe, templates
from raysel.report.tables import strategies
from raysel.sweep.results import Verdict


@dataclass(frozen=True)
class SweepLine:
    """One sweep of the first table, in words; `badge` is a tone and the outcome."""

    name: str
    model: str
    data: str
    shots: int | None
    winner: str | None
    test_error: str
    full: str
    difference: str
    badge: tuple[str, str]


def write_comparison(sweeps: Sequence[Compared], folder: Path) -> Path:
    """Write the page of two or more sweeps.

    Returns:
        `<folder>/index.html`. The figures are beside it as PNG in `figures/`; each file is
        there whole or not at all.
    """
    sweeps = [Compared(one_line(s.name), safe(s.results), s.spec) for s in sweeps]
    pictures = drawn(comparison.FIGURES, sweeps, folder / "figures")
    index = folder / "index.html"
    write_whole(index, page(sweeps, pictures))
    return index


def page(sweeps: Sequence[Compared], drawn: dict[str, str]) -> str:
    """The page as text; `drawn`: figures as SVG by their name in `comparison.FIGURES`."""
    ranks = mean_ranks(sweeps)
    order = sorted(every_strategy(sweeps), key=lambda name: ranks.get(name, float("inf")))
    names = {name for sweep in sweeps for name in strategies(sweep.results)}
    return (
        templates()
        .get_template("comparison.html.j2")
        .render(
            sweeps=[sweep.name for sweep in sweeps],
            rows=[line(sweep) for sweep in sweeps],
            errors={name: [cell(sweep, name) for sweep in sweeps] for name in order},
            ranks=ranks,
            figures={name: Markup(svg) for name, svg in drawn.items()},
            styles=drawing.styles(sorted(names)),
            colours=drawing.css(),
        )
    )


def line(sweep: Compared) -> SweepLine:
    """A sweep's verdict in a row."""
    verdict, task = sweep.results.verdict, sweep.spec.task
    winner = verdict.winner
    shift = "" if task.shift.kind == "none" else f", {task.shift.kind} {task.shift.severity}"
    own, full = sweep.confirmed.get(winner or ""), sweep.confirmed.get("full")
    return SweepLine(
        name=sweep.name,
        model=sweep.model,
        data=f"{task.name}{shift}",
        shots=sweep.shots,
        winner=winner,
        test_error=own.test_error if own else "–",
        full=full.test_error if full else "–",
        difference=_difference(verdict),
        badge=badge(sweep.results),
    )


def cell(sweep: Compared, strategy: str) -> str:
    """A strategy's test error in a sweep, marked where it was chosen."""
    row = sweep.confirmed.get(strategy)
    return "–" if row is None else f"{row.test_error}{' ◂' * row.winner}"


def _difference(verdict: Verdict) -> str:
    """Points of test error: `−2.3 [−4.9, +0.3]`; of another measure that is named."""
    if verdict.difference is None:
        return "–"
    known = (verdict.difference, verdict.low, verdict.high)
    shown = [f"{100 * value:+.1f}".replace("-", "−") for value in known if value is not None]
    words = shown[0] if len(shown) < 3 else f"{shown[0]} [{shown[1]}, {shown[2]}]"
    measure = verdict.measure.removeprefix("test/")
    return words if measure == "error" else f"{words} ({measure.replace('_', ' ')})"
