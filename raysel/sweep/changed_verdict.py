"""What a verdict that was made anew over the same runs says differently."""

from __future__ import annotations

from collections.abc import Iterator

from raysel.common.errors import OperationalError
from raysel.common.text import NAME, and_more, one_line
from raysel.record.layout import SweepFolder
from raysel.record.state import SweepState
from raysel.sweep.own_record import own_results
from raysel.sweep.results import Comparison, SweepResults

_SMALLEST = 5e-5
"""Of a difference of intervals; a smaller one is not seen in hundredths of a point."""


def changed_on_disk(folder: SweepFolder, after: SweepResults) -> str:
    """The same against the `results.json` of a sweep's folder; empty where nothing differs."""
    try:
        before = own_results(folder, SweepState(id=after.sweep_id or ""))
    except OperationalError:
        return ""  # there are none, or they are damaged
    return changed_verdict(before, after)


def changed_verdict(before: SweepResults, after: SweepResults) -> str:
    """By which version each was made and what differs, in a line; empty where the verdict is the
    same, or is one over other runs."""
    if not (before.complete and after.complete) or _runs(before) != _runs(after):
        return ""
    changes = list(_changes(before, after))
    if not changes:
        return ""
    versions = [one_line(r.versions.get("raysel", "unknown"), NAME) for r in (before, after)]
    made = f"made anew by raysel {versions[1]}, before by raysel {versions[0]}, over the same runs"
    return f"the verdict was {made}: {and_more(changes, 3)}"


def _runs(results: SweepResults) -> set[tuple[str, float | None]]:
    return {(run.id, run.test_error) for row in results.confirm for run in row.runs}


def _changes(before: SweepResults, after: SweepResults) -> Iterator[str]:
    old, new = before.verdict, after.verdict
    for name in ("winner", "lowest", "level", "smallest_effect"):
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            yield f"{name.replace('_', ' ')} {now}, was {was}"
    known = _comparisons(before)
    for pair, now in _comparisons(after).items():
        was = known.get(pair)
        if was is None:
            continue
        if was.outcome != now.outcome:
            yield f"{' - '.join(pair)} {_in_words(now.outcome)}, was {_in_words(was.outcome)}"
        if _differs(was.low, now.low) or _differs(was.high, now.high):
            yield f"{' - '.join(pair)} {_interval(now)} points, was {_interval(was)}"


def _comparisons(results: SweepResults) -> dict[tuple[str, str], Comparison]:
    verdict = results.verdict
    listed = [*verdict.against_baseline, *verdict.contrasts]  # the file's own come first
    return {(one.ours, one.theirs): one for one in listed}


def _differs(was: float | None, now: float | None) -> bool:
    if was is None or now is None:
        return was is not now
    return abs(was - now) > _SMALLEST


def _interval(comparison: Comparison) -> str:
    if comparison.low is None or comparison.high is None:
        return "no interval"
    return f"{_points(comparison.low)} to {_points(comparison.high)}"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _in_words(outcome: str) -> str:
    return outcome.replace("_", " ")
