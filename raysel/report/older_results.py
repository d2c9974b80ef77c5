"""What the results of an older raysel do not have, for whoever reads their report."""

from __future__ import annotations

from raysel.sweep.results import SweepResults


def missing_parts(results: SweepResults) -> list[str]:
    """What is not in the results, in words; nothing where a raysel wrote them that knows the
    tuning effort, nor before anything was confirmed."""
    if results.effort or not results.confirm:
        return []
    verdict, runs = results.verdict, [run for row in results.confirm for run in row.runs]
    compared = [*verdict.contrasts, *verdict.against_baseline]
    lacks = ["the tuning that each strategy's configuration rests on"]
    if not any(run.split for run in runs):
        lacks.append("runs on other splits of the data, without which no difference is shown")
    if not compared and len(results.confirm) > 1:
        lacks.append("each strategy's difference from full fine-tuning")
    if not any(comparison.examples for comparison in compared):
        lacks.append("each run's answers to the test examples, which are a source of variation")
    return lacks
