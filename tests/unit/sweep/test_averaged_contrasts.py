"""Contrasts averaged over a suite's cells, worked out once more from the arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confirm_kit import by_example, entry, runs_of
from results_kit import typed
from scipy import stats

from raysel.record.layout import SweepFolder
from raysel.sweep.averaged_contrasts import (
    AveragedContrasts,
    ContrastedCell,
    averaged_contrasts,
    contrasted,
)
from raysel.sweep.pairwise import Runs, compare
from raysel.sweep.results import Comparison, SweepResults
from raysel.sweep.statistics.differences import paired_difference
from raysel.training.answers import Answers, write_answers

SPLITS, EXAMPLES, OVERLAP = 5, 60, 0.2
PAIR = ("ours", "full")
SAME = ("data", (1, 2), ())


def losses(seed: int, rate: float) -> np.ndarray:
    """[splits, examples] of zeros and ones; some examples are harder than others."""
    draw = np.random.default_rng(seed)
    hard = draw.beta(1, 2, EXAMPLES) + rate
    return (draw.random((SPLITS, EXAMPLES)) < hard).astype(float)


def results_of(comparisons: list[Comparison], splits: int) -> SweepResults:
    own = typed({})
    verdict = own.verdict.model_copy(update={"contrasts": tuple(comparisons), "splits": splits})
    return own.model_copy(update={"verdict": verdict})


def cell(tables: dict[str, np.ndarray], tested: tuple[Any, ...] | None) -> ContrastedCell:
    entries, known = by_example(tables)
    runs = runs_of(*entries, splits=SPLITS, overlap=OVERLAP, losses=known)
    return ContrastedCell(results_of(compare(runs, [PAIR]), SPLITS), runs, tested)


def tables(seed: int) -> dict[str, np.ndarray]:
    return {"ours": losses(seed, 0.0), "full": losses(seed + 100, 0.1)}


def averaged(cells: list[ContrastedCell]) -> AveragedContrasts:
    found = averaged_contrasts(cells)
    assert found is not None
    return found


def test_over_the_same_splits_the_losses_are_averaged_example_by_example() -> None:
    cells = [tables(seed) for seed in (1, 2, 3)]
    found = averaged([cell(own, SAME) for own in cells])
    means = {name: sum(own[name] for own in cells) / 3 for name in PAIR}
    expected = paired_difference(means["ours"], means["full"], OVERLAP)
    ((c, of_cells),) = [(o.comparison, o.of_cells) for o in found.contrasts]
    assert found.unit == "split"
    assert (c.units, c.examples) == (SPLITS, EXAMPLES)
    assert c.difference == pytest.approx(expected.mean)
    assert (c.low, c.high) == pytest.approx(expected.interval())
    assert of_cells == pytest.approx([float((own["ours"] - own["full"]).mean()) for own in cells])


def test_over_other_data_the_unit_is_the_cell() -> None:
    cells = [tables(seed) for seed in (1, 2, 3, 4)]
    found = averaged([cell(own, ("data", seed)) for seed, own in enumerate(cells)])
    values = np.array([(own["ours"] - own["full"]).mean() for own in cells])
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1) / 2
    c = found.contrasts[0].comparison
    assert found.unit == "cell"
    assert (c.difference, c.units) == (pytest.approx(values.mean()), 4)
    assert (c.low, c.high) == pytest.approx((values.mean() - half, values.mean() + half))


def test_where_examples_are_not_known_one_by_one_the_means_are_averaged() -> None:
    ours, full = [0.1, 0.2, 0.3, 0.2, 0.1], [0.3, 0.3, 0.4, 0.5, 0.2]

    def without(runs: Runs) -> ContrastedCell:
        return ContrastedCell(results_of(compare(runs, [PAIR]), SPLITS), runs, SAME)

    cells = [without(runs_of(entry("ours", ours), entry("full", full))), cell(tables(1), SAME)]
    c = averaged(cells).contrasts[0].comparison
    own = tables(1)
    whole = (np.subtract(ours, full) + own["ours"].mean(1) - own["full"].mean(1)) / 2
    assert (c.difference, c.examples) == (pytest.approx(whole.mean()), 0)


def test_what_one_cell_lacks_is_left_out_and_unequal_effort_stays_so() -> None:
    first, second = cell(tables(1), SAME), cell(tables(2), SAME)
    without = ContrastedCell(results_of([], SPLITS), second.runs, SAME)
    assert averaged_contrasts([first, without]) is None
    assert averaged_contrasts([first]) is None
    (own,) = second.results.verdict.contrasts
    unequal = own.model_copy(update={"outcome": "unequal_effort"})
    other = ContrastedCell(results_of([unequal], SPLITS), second.runs, SAME)
    assert averaged([first, other]).contrasts[0].comparison.outcome == "unequal_effort"


def test_answers_and_split_are_read_from_the_folder(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    made = entry("full", [0.5])
    (run,) = made.runs
    folder.trial(run.id).mkdir(parents=True)
    write_answers(folder.trial(run.id), Answers(np.array([0, 1]), np.array([0, 0]), None, None))
    record = {"fingerprint": "f", "parts": {"test": [7, 8]}}
    record["draws"] = [{"train": [1, 2, 3], "validation": [4]}]
    folder.split.write_text(json.dumps(record))
    found = contrasted(typed({"confirm": [made.model_dump()]}), folder)
    assert found.runs.losses[run.id].tolist() == [0.0, 1.0]
    assert found.runs.overlap == pytest.approx(1 / 3)
    assert found.tested == ("f", (7, 8), (((1, 2, 3), (4,)),))
    folder.split.unlink()
    assert contrasted(typed({}), folder).tested is None
