"""What a confirmed model answers to each test example, and the losses that follow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysel.training.answers import FILE, Answers, read_answers, write_answers
from raysel.training.metrics import MetricAccumulator


def measured(classes: int, batches: int = 3):
    generator = torch.Generator().manual_seed(0)
    tally = MetricAccumulator(torch.device("cpu"), answers=True)
    for _ in range(batches):
        logits = torch.randn(17, classes, generator=generator)
        tally.add(logits, torch.randint(classes, (17,), generator=generator))
    return tally.measured()


@pytest.mark.parametrize("classes", [3, 8])
@pytest.mark.parametrize("measure", ["error", "balanced_error", "top5_error"])
def test_the_mean_loss_of_the_examples_is_the_runs_metric(tmp_path, classes, measure):
    found = measured(classes)
    assert found.answers is not None
    write_answers(tmp_path, found.answers)
    again = read_answers(tmp_path)
    assert again is not None
    losses = again.losses(f"test/{measure}")
    if measure == "top5_error" and classes == 3:
        assert losses is None and again.in_top5 is None
    else:
        assert losses is not None and len(losses) == 51
        expected = found.by_name("test")[f"test/{measure}"]
        assert losses.mean() == pytest.approx(expected, abs=1e-12)


def test_they_are_kept_in_the_order_of_the_examples(tmp_path):
    answers = Answers(np.array([3, 0, 2]), np.array([3, 1, 2]), np.array([True, False, True]))
    write_answers(tmp_path, answers)
    again = read_answers(tmp_path)
    assert again is not None and again.in_top5 is not None
    assert again.labels.tolist() == [3, 0, 2] and again.predicted.tolist() == [3, 1, 2]
    assert again.in_top5.tolist() == [True, False, True]
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_nothing_is_kept_where_nobody_asks():
    tally = MetricAccumulator(torch.device("cpu"))
    tally.add(torch.eye(4), torch.arange(4))
    assert tally.measured().answers is None


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_a_file_that_cannot_be_read_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    assert read_answers(tmp_path) is None
