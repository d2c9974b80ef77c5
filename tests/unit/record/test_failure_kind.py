"""Why a trial failed: by its kind, and in older records by the sentence that they have."""

from __future__ import annotations

import pytest

from raysel.record.failure_kind import FailureKind, failed_end, failure_of, halved_at_epoch


@pytest.mark.parametrize("kind", list(FailureKind))
def test_an_end_keeps_its_kind_whatever_its_words_are(kind):
    assert failure_of(failed_end(kind, "diverged: x")) is kind
    assert kind.is_own == (kind in (FailureKind.DIVERGED, FailureKind.ERROR))


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("diverged: the loss was not finite for 10 steps in a row", FailureKind.DIVERGED),
        ("ValueError: no", FailureKind.ERROR),
        ("val/error is not finite at epoch 1", FailureKind.NOT_FINITE),
        ("test/loss, confirm/epoch: not finite", FailureKind.NOT_FINITE),
        ("worker lost: node died", FailureKind.WORKER_LOST),
        ("closed by raysel reconcile", FailureKind.CLOSED),
    ],
)
def test_an_older_end_is_known_by_its_sentence(cause, kind):
    assert failure_of({"status": "FAILED", "cause": cause, "value": None}) is kind


def test_an_end_without_failure_has_none():
    assert failure_of({"status": "PRUNED", "cause": "pruned at epoch 1", "value": 0.5}) is None


@pytest.mark.parametrize(
    ("payload", "epoch"),
    [
        ({}, None),
        ({"note": "checkpoint.pt is damaged: x; continues from epoch 2"}, None),
        ({"note": "out of memory at batch 20 in epoch 7; again with 10 × 2"}, 7),
        ({"note": "anything", "halved_at_epoch": 3}, 3),
    ],
)
def test_a_halving_has_its_number_and_in_older_records_a_sentence(payload, epoch):
    assert halved_at_epoch(payload) == epoch
