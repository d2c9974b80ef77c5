"""The selection trace: what is written is what was decided, and the summary says it short."""

from __future__ import annotations

import math

import pyarrow.parquet as pq
import pytest
import torch
from trial_kit import trace_rows

from raysel.strategies.base import Decision
from raysel.training.selection_trace import EpochTrace

LAYERS = ("stem", "body", "head")
INF, NAN = math.inf, math.nan


def _decision(weights, scores=None, transient=None) -> Decision:
    return Decision(
        torch.tensor(weights, dtype=torch.float32),
        None if scores is None else torch.tensor(scores, dtype=torch.float64),
        None if transient is None else torch.tensor(float(transient)),
    )


def _trace(*decisions: Decision, first: int = 11, **options) -> EpochTrace:
    trace = EpochTrace(LAYERS, epoch=3, **options)
    for step, decision in enumerate(decisions, start=first):
        trace.add(step, decision)
    return trace


GUIDED = (
    _decision([0, 1, 0], [0.5, INF, 0.1], transient=1),
    _decision([1, 0, 0], [2.0, 0.5, 0.2], transient=0),
    _decision([0, 1, 0], [0.5, 1.5, 0.6], transient=0),
    _decision([0, 0, 0], [0.0, 0.0, 0.0], transient=0),
)


def test_a_row_a_step_and_layer_with_weight_and_score(tmp_path):
    _trace(*GUIDED).write(tmp_path / "new")
    rows = trace_rows(tmp_path / "new")
    assert len(rows) == 12
    assert rows[:3] == [
        {"step": 11, "epoch": 3, "layer": "stem", "weight": 0.0, "score": 0.5},
        {"step": 11, "epoch": 3, "layer": "body", "weight": 1.0, "score": INF},
        {"step": 11, "epoch": 3, "layer": "head", "weight": 0.0, "score": pytest.approx(0.1)},
    ]
    assert [row["step"] for row in rows[::3]] == [11, 12, 13, 14]
    assert [row["layer"] for row in rows] == list(LAYERS) * 4


def test_the_part_has_the_columns_and_the_name_of_the_record(tmp_path):
    _trace(*GUIDED).write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0003.parquet"]
    table = pq.read_table(tmp_path / "epoch-0003.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types["step"] == types["epoch"] == "int32"
    assert types["weight"] == types["score"] == "float"
    assert table["layer"].to_pylist()[:3] == list(LAYERS)


def test_a_strategy_without_scores_has_nan_there(tmp_path):
    _trace(_decision([1, 0.25, 0]), _decision([1, 0.25, 0])).write(tmp_path)
    table = pq.read_table(tmp_path / "epoch-0003.parquet")
    assert all(math.isnan(score) for score in table["score"].to_pylist())
    assert table["weight"].to_pylist() == [1, 0.25, 0, 1, 0.25, 0]


def test_only_every_so_many_steps_are_written_by_their_number_in_the_trial(tmp_path):
    trace = _trace(*GUIDED, every=3)
    trace.write(tmp_path)
    assert {row["step"] for row in trace_rows(tmp_path)} == {12}
    assert [row["weight"] for row in trace_rows(tmp_path)] == [1, 0, 0]
    assert [row["score"] for row in trace_rows(tmp_path)] == [2.0, 0.5, pytest.approx(0.2)]
    assert trace.summary() == _trace(*GUIDED).summary()  # the summary is of all of them


@pytest.mark.parametrize("every", [1, 100])
def test_an_epoch_without_a_kept_step_is_an_empty_part(tmp_path, every):
    _trace(*(GUIDED if every == 100 else ()), every=every).write(tmp_path)
    assert pq.read_table(tmp_path / "epoch-0003.parquet").num_rows == 0


def test_the_summary_is_the_mean_weight_and_the_mean_of_the_finite_scores():
    assert _trace(*GUIDED).summary() == pytest.approx(
        {
            "select/stem": 1 / 4,
            "select/body": 2 / 4,
            "select/head": 0.0,
            "score/stem": 3.0 / 4,
            "score/body": 2.0 / 3,  # without the infinite one
            "score/head": 0.9 / 4,
            "select/transient_share": 1 / 4,
        }
    )


def test_a_layer_without_a_finite_score_has_none():
    summary = _trace(_decision([1, 1, 0], [INF, 1.0, NAN])).summary()
    assert set(summary) == {"select/stem", "select/body", "select/head", "score/body"}


def test_scores_of_some_steps_stay_with_their_steps(tmp_path):
    """The protocol lets a strategy give a score at one step and none at another."""
    trace = _trace(_decision([1, 0, 0]), _decision([0, 1, 0], [1.0, 2.0, 3.0]))
    trace.write(tmp_path)
    rows = trace_rows(tmp_path)
    assert [row["score"] for row in rows] == [None, None, None, 1.0, 2.0, 3.0]
    assert trace.summary()["score/body"] == 2.0


def test_what_moved_is_reported_by_layer_and_in_parameters():
    trace = _trace(*GUIDED)
    assert trace.moved() == [True, True, False]
    assert trace.mean_moved(torch.tensor([10.0, 100.0, 1000.0])) == pytest.approx(
        10 * 1 / 4 + 100 * 2 / 4
    )
    small = _trace(_decision([0.001, 0, 0]))  # a weight above 0 is a move, however small
    assert small.moved() == [True, False, False]
    assert small.mean_moved(torch.tensor([10.0, 100.0, 1000.0])) == 10


def test_an_epoch_whose_steps_were_all_skipped_moved_nothing():
    trace = _trace()
    assert trace.summary() == {}
    assert trace.moved() == [False] * 3
    assert trace.mean_moved(torch.ones(3)) == 0


def test_a_step_that_the_device_did_not_take_is_forgotten_at_the_end(tmp_path):
    trace = EpochTrace(LAYERS, epoch=3)
    for step, (decision, sound) in enumerate(zip(GUIDED, (True, False, True, False), strict=True)):
        trace.add(step, decision, torch.tensor(sound))
    trace.drop_nonfinite()
    trace.write(tmp_path)
    assert [row["step"] for row in trace_rows(tmp_path)] == [0] * 3 + [2] * 3
    assert trace.moved() == [False, True, False]
    assert trace.summary()["select/body"] == 1.0
    assert trace.summary()["select/transient_share"] == 0.5


@pytest.mark.parametrize(("weight", "shown"), [(NAN, "nan"), (-0.5, "-0.5"), (INF, "inf")])
def test_a_weight_that_is_none_is_refused_by_layer_and_step(weight, shown):
    trace = _trace(_decision([0, 1, 0]), _decision([1, 0, weight]))
    with pytest.raises(ValueError, match=f"layer head the weight {shown} at step 12; a weight is"):
        trace.check_weights()


def test_weights_of_a_step_that_was_not_taken_are_not_judged():
    trace = EpochTrace(LAYERS, epoch=1)
    trace.add(1, _decision([NAN, 1, 0]), torch.tensor(False))
    trace.add(2, _decision([0, 1, 0]), torch.tensor(True))
    trace.drop_nonfinite()
    trace.check_weights()
