"""The contrasts of a suite's cells, averaged over the cells.

A cell alone seldom shows anything: five splits spread widely. Where all cells were tested on the
same examples after training on the same splits (the axes are models, shots, settings), the unit
stays the split: for each split and each test example the loss is averaged over the cells, and the
interval holds for these cells. Elsewhere (the axes are data) the unit is the cell, and the
interval is over cells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raysel.common.user_files import MIB, read_regular
from raysel.record.layout import SweepFolder
from raysel.sweep.pairwise import Rule, Runs, compare
from raysel.sweep.results import Comparison, SweepResults
from raysel.sweep.statistics.differences import Difference, overlap_correction, paired_difference
from raysel.training.answers import read_answers

_MOST_BYTES = 1024 * MIB

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
class AveragedContrasts:
    """Contrasts over all cells.

    Attributes:
        unit: what the interval is over.
        of_cells: of each contrast the difference in each cell.
    """

    unit: Unit
    comparisons: tuple[Comparison, ...]
    of_cells: tuple[tuple[float, ...], ...]


def contrasted(results: SweepResults, folder: SweepFolder) -> ContrastedCell:
    """A cell, with its runs' answers and its split read from its folder."""
    verdict = results.verdict
    rows = {entry.strategy: entry.runs for entry in results.confirm}
    losses: dict[str, NDArray[np.float64]] = {}
    for run in (run for runs in rows.values() for run in runs):
        answers = read_answers(folder.trial(run.id))
        known = None if answers is None else answers.losses(verdict.measure)
        if known is not None:
            losses[run.id] = known
    tested, overlap = _split_of(folder)
    runs = Runs(rows, verdict.measure, verdict.splits, overlap, losses)
    return ContrastedCell(results, runs, tested)


def averaged_contrasts(cells: Sequence[ContrastedCell]) -> AveragedContrasts | None:
    """The contrasts that every cell's verdict has, in the order of the first; None where there are
    none, or a single cell. Holm's correction is over all of them."""
    if len(cells) < 2:
        return None
    named = [{(c.ours, c.theirs): c for c in cell.results.verdict.contrasts} for cell in cells]
    pairs = [
        pair
        for pair in named[0]
        if all(pair in own and own[pair].difference is not None for own in named)
    ]
    if not pairs:
        return None
    first = cells[0].results.verdict
    shared = {cell.tested for cell in cells}
    alike = len(shared) == 1 and None not in shared and first.splits > 1
    averages: _OverSplits | _OverCells = _OverSplits(cells) if alike else _OverCells(named)
    found = compare(averages, pairs, Rule(smallest_effect=first.smallest_effect))
    unequal = [any(own[pair].outcome == "unequal_effort" for own in named) for pair in pairs]
    return AveragedContrasts(
        "split" if alike else "cell",
        tuple(
            c.model_copy(update={"outcome": "unequal_effort"}) if less else c
            for c, less in zip(found, unequal, strict=True)
        ),
        tuple(tuple(own[pair].difference or 0.0 for own in named) for pair in pairs),
    )


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
            stacked = [[[np.mean(one) for one in unit] for unit in side] for side in stacked]
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
    try:
        record = json.loads(read_regular(folder.split, _MOST_BYTES))
        draws = [(tuple(draw["train"]), tuple(draw["validation"])) for draw in record["draws"]]
        tested = (record["fingerprint"], tuple(record["parts"]["test"]), tuple(draws))
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0.0
    overlap = overlap_correction(*map(len, draws[0])) if draws else 0.0
    return tested, overlap
