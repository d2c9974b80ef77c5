"""Every table of the page of several sweeps, for a paper and for a script."""

from __future__ import annotations

from typing import Any

from raysel.report.compared import Sweeps, by_rank, cell, ranking
from raysel.report.sweep_tables import interval_values
from raysel.report.table import Table, make
from raysel.sweep.results import Interval


def comparison_tables(sweeps: Sweeps) -> list[Table]:
    """The tables that have rows."""
    found = [_found(sweeps), _errors(sweeps), _ranks(sweeps)]
    return [table for table in found if table is not None]


def _found(sweeps: Sweeps) -> Table | None:
    rows = []
    for sweep in sweeps:
        verdict = sweep.results.verdict
        errors = [
            sweep.confirmed[name].test_error if name in sweep.confirmed else "–"
            for name in (verdict.winner or "", verdict.baseline)
        ]
        about = f"{sweep.model}, {sweep.data}{f', {sweep.shots} shots' if sweep.shots else ''}"
        words = (
            sweep.name,
            about,
            verdict.winner or "–",
            *errors,
            sweep.difference,
            sweep.badge[1],
        )
        values = verdict.model_dump(exclude={"contrasts", "against_baseline", "sentence"})
        about_it = {"model": sweep.model, "data": sweep.data, "shots": sweep.shots}
        rows.append((words, {"sweep": sweep.name, **about_it, **values}))
    return make(
        "found",
        "What each one found",
        "The strategy that each sweep chose on validation data, its test error and that of full"
        " fine-tuning, and the verdict's difference in points with its interval.",
        {
            "sweep": False,
            "of": False,
            "chosen": False,
            "its test error": True,
            "full": True,
            "difference": True,
            "verdict": False,
        },
        rows,
    )


def _errors(sweeps: Sweeps) -> Table | None:
    ranks = ranking(sweeps).mean
    rows = []
    for name in by_rank(sweeps):
        rank = f"{ranks[name]:.2f}" if name in ranks else "–"
        values: dict[str, Any] = {}
        for sweep in sweeps:
            entry = next((e for e in sweep.results.confirm if e.strategy == name), None)
            values |= interval_values(sweep.name, entry.test_error if entry else Interval())
        cells = [cell(sweep, name) for sweep in sweeps]
        values = {"strategy": name, "mean_rank": ranks.get(name), **values}
        rows.append(((name, rank, *cells), values))
    return make(
        "errors",
        "Test error of every strategy",
        "Mean rank, and test error of every strategy in every sweep, mean and half the 95 %"
        " interval over the runs. ◂ is what each sweep chose.",
        {"strategy": False, "mean rank": True, **{sweep.name: True for sweep in sweeps}},
        rows,
    )


def _ranks(sweeps: Sweeps) -> Table | None:
    found = ranking(sweeps)
    if found.critical_difference is None or found.p_value is None:
        return None
    rows = []
    for name, rank in found.mean.items():
        others = ", ".join(found.distinguished(name))
        values = {
            "strategy": name,
            "mean_rank": rank,
            "distinguished_from": others,
            "sweeps": found.sweeps,
            "p_value": found.p_value,
            "critical_difference": found.critical_difference,
        }
        rows.append(((name, f"{rank:.2f}", others or "none"), values))
    return make(
        "ranks",
        "Mean ranks",
        f"Mean ranks by test error over {found.sweeps} sweeps; Friedman's test: p ="
        f" {found.p_value:.2g}; critical difference (Nemenyi, 5 %):"
        f" {found.critical_difference:.2f}.",
        {"strategy": False, "mean rank": True, "distinguished from": False},
        rows,
    )
