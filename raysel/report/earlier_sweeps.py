"""Which trials came from earlier sweeps, in sentences."""

from __future__ import annotations

from raysel.common.text import and_more, count_of
from raysel.sweep.results import PriorUse, SweepResults

NO_EFFORT = (
    "Trials of earlier sweeps are not counted as effort here: every strategy had its share of this"
    " sweep's trials."
)


def earlier_lines(results: SweepResults) -> list[str]:
    """A line for each earlier sweep and strategy, and what their trials are not; nothing of a
    sweep without."""
    if not results.prior:
        return []
    lines = [_line(used) for used in results.prior]
    searched = {trial.strategy for trial in results.trials}
    without = [s for s in sorted(searched) if s not in {used.strategy for used in results.prior}]
    fewer = f" Nothing was known of {and_more(without, 3)}." if without else ""
    return [*lines, NO_EFFORT + fewer]


def _line(used: PriorUse) -> str:
    head = f"{used.sweep}, {used.strategy}: {count_of(used.trials, 'trial')}"
    first = f"tried first as {and_more(list(used.first), 3)}" if used.first else "none tried first"
    if not used.given:
        return f"{head}; {first}."
    if not used.warmed:
        return f"{head}; {first}; tpe suggested no trial with them."
    count = count_of(len(used.warmed), "trial")
    warmed = f"tpe suggested {count} with {used.given} of them ({and_more(list(used.warmed), 3)})"
    return f"{head}; {first}; {warmed}."
