"""The contrasts of a suite's cells, averaged over the cells.

A cell alone seldom shows anything: five splits spread widely. Where all cells were tested on the
same examples after training on the same splits (the axes are models, shots, settings), the unit
stays the split: for each split and each test example the loss is averaged over the cells, and the
interval holds for these cells. Elsewhere (the axes are data) the unit is the cell, and the
interval is over cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raysel.record.layout import SweepFolder
from raysel.spec.sweep import SMALLEST_EFFECT
from raysel.sweep.confirm_answers import answers_of
from raysel.sweep.pairwise import Rule, Runs, compare
from raysel.sweep.results import Comparison, SweepResults
from raysel.sweep.split import read_split
from raysel.sweep.statistics.differences import Difference, overlap_correction, paired_difference

Unit = Literal["split", "cell"]


@dataclass(frozen=True)
class ContrastedCell:
    """What a cell brings to the average.

    Attributes:
        runs: its confirm runs.
        tested: what its test examples and splits are, equal where they are the same; None where
            that is not known.
    """

    results: SweepResults
    runs: Runs
    tested: tuple[Any, ...] | None


@dataclass(frozen=True)
class AveragedContrast:
    """One contrast.

    Attributes:
        comparison: over all cells.
        of_cells: the difference in each cell.
    """

    comparison: Comparison
    of_cells: tuple[float, ...]


@dataclass(frozen=True)
class AveragedContrasts:
    """What every cell of a suite compared, averaged.

    Attributes:
        unit: what the intervals are over.
        contrasts: those that the file names.
        against_baseline: each arm against full fine-tuning.
        smallest_effect: differences up to this are not relevant.
    """

    unit: Unit
    contrasts: tuple[AveragedContrast, ...]
    against_baseline: tuple[AveragedContrast, ...]
    smallest_effect: float = SMALLEST_EFFECT


def contrasted(results: SweepResults, folder: SweepFolder) -> ContrastedCell:
    """A cell, with its runs' answers and its split read from its folder."""
    verdict = results.verdict
    rows = {entry.strategy: entry.runs for entry in results.confirm}
    losses: dict[str, NDArray[np.float64]] = {}
    read = answers_of((run for runs in rows.values() for run in runs), folder.trial)
    for run, answers in read.items():
        known = None if answers is None else answers.losses(verdict.measure)
        if known is not None:
            losses[run] = known
    tested, overlap = _split_of(folder)
    runs = Runs(rows, verdict.measure, verdict.splits, overlap, losses)
    return ContrastedCell(results, runs, tested)


def averaged_contrasts(cells: Sequence[ContrastedCell]) -> AveragedContrasts | None:
    """What every cell's verdict compared, in the order of the first; None where there is nothing,
    or a single cell. Holm's correction is over the contrasts, and over the arms against full
    fine-tuning."""
    if len(cells) < 2:
        return None
    verdicts = [cell.results.verdict for cell in cells]
    shared = {cell.tested for cell in cells}
    alike = len(shared) == 1 and None not in shared and verdicts[0].splits > 1
    rule = Rule(smallest_effect=verdicts[0].smallest_effect)
    over_splits = _OverSplits(cells) if alike else None
    contrasts, others = (
        _family([{(c.ours, c.theirs): c for c in own} for own in of_cells], over_splits, rule)
        for of_cells in (
            [verdict.contrasts for verdict in verdicts],
            [verdict.against_baseline for verdict in verdicts],
        )
    )
    if not contrasts and not others:
        return None
    return AveragedContrasts(
        "split" if alike else "cell", contrasts, others, verdicts[0].smallest_effect
    )


def _family(
    named: Sequence[Mapping[tuple[str, str], Comparison]],
    over_splits: _OverSplits | None,
    rule: Rule,
) -> tuple[AveragedContrast, ...]:
    """The comparisons that every cell has a difference of, corrected together."""
    pairs = [
        pair
        for pair in named[0]
        if all(pair in own and own[pair].difference is not None for own in named)
    ]
    compared = compare(over_splits or _OverCells(named), pairs, rule)
    averaged = []
    for pair, found in zip(pairs, compared, strict=True):
        if any(own[pair].outcome == "unequal_effort" for own in named):
            found = found.model_copy(update={"outcome": "unequal_effort"})
        differences = tuple(own[pair].difference or 0.0 for own in named)
        averaged.append(AveragedContrast(found, differences))
    return tuple(averaged)


class _OverSplits:
    """Differences over the splits, of losses averaged over the cells."""

    def __init__(self, cells: Sequence[ContrastedCell]) -> None:
        self._cells = [cell.runs for cell in cells]
        self.splits = self._cells[0].splits

    def difference(self, ours: str, theirs: str) -> Difference | None:
        """Ours minus theirs over the splits that both have in every cell."""
        sides = [[runs.units(name) for runs in self._cells] for name in (ours, theirs)]
        shared = sorted(set.intersection(*(set(own) for side in sides for own in side)))
        if not shared:
            return None
        overlap = self._cells[0].overlap
        stacked = [[[own[unit] for own in side] for unit in shared] for side in sides]
        if len({np.shape(one) for side in stacked for unit in side for one in unit}) > 1:
            stacked = [
                [[np.array(one.mean()) for one in unit] for unit in side] for side in stacked
            ]
        first, second = (np.mean(np.array(side), axis=1) for side in stacked)
        return paired_difference(first, second, overlap)


class _OverCells:
    """Differences over the cells, each with its mean."""

    def __init__(self, cells: Sequence[Mapping[tuple[str, str], Comparison]]) -> None:
        self._cells = cells
        self.splits = len(cells)

    def difference(self, ours: str, theirs: str) -> Difference | None:
        """Ours minus theirs, cell by cell."""
        means = [own[ours, theirs].difference or 0.0 for own in self._cells]
        return paired_difference(means, np.zeros(len(means)))


def _split_of(folder: SweepFolder) -> tuple[tuple[Any, ...] | None, float]:
    """What the test examples and splits of a sweep are, and the overlap of its training parts."""
    record = read_split(folder.split)
    if isinstance(record, str):
        return None, 0.0
    try:
        draws = [(tuple(draw["train"]), tuple(draw["validation"])) for draw in record["draws"]]
        tested = (record["fingerprint"], tuple(record["parts"]["test"]), tuple(draws))
    except (KeyError, TypeError):
        return None, 0.0
    overlap = overlap_correction(*map(len, draws[0])) if draws else 0.0
    return tested, overlap
