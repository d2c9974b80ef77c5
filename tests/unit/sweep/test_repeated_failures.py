"""When a sweep ends early because its trials fail one like the other."""

from __future__ import annotations

import pytest

from raysel.record.events import Event, Kind
from raysel.sweep.repeated_failures import IN_A_ROW, Failures


def ended(status: str = "FAILED", cause: str | None = "ValueError: no") -> Event:
    return Event("0000", Kind.ENDED, 1, 0.0, {"status": status, "cause": cause, "value": None})


def stopped_by(*events: Event) -> list[str]:
    """Why the sweep was asked to stop."""
    causes: list[str] = []
    failures = Failures(causes.append)
    for event in events:
        failures.see(event)
    assert failures.too_many == bool(causes)
    return causes


def test_so_many_alike_stop_it_and_one_fewer_do_not():
    assert stopped_by(*[ended()] * (IN_A_ROW - 1)) == []
    assert stopped_by(*[ended()] * IN_A_ROW) == ["5 trials in a row failed alike: ValueError: no"]


@pytest.mark.parametrize(
    "between",
    [ended("COMPLETE", None), ended("PRUNED", "pruned at epoch 1"), ended(cause="KeyError: 'x'")],
)
def test_anything_else_in_between_starts_the_count_anew(between):
    assert stopped_by(*[ended()] * 4, between, *[ended()] * 4) == []


@pytest.mark.parametrize("cause", ["diverged: 10 steps", "val/error is not finite at epoch 2"])
def test_divergence_is_not_counted(cause):
    assert stopped_by(*[ended(cause=cause)] * 20) == []


def test_what_is_no_end_of_a_trial_is_not_looked_at():
    other = Event("0000", Kind.EPOCH, 1, 0.0, {"metrics": {}})
    assert len(stopped_by(*[ended(), other] * IN_A_ROW)) == 1


@pytest.mark.parametrize(
    "cause",
    [
        "OutOfMemoryError: CUDA out of memory. Tried to allocate {}.00 MiB. {}.12 GiB is free",
        "worker lost: pid: {} actor_id: 5cf8{}ab01",
        "RuntimeError: at 0x7f6e{}a9a22800",
    ],
)
def test_numbers_that_differ_do_not_make_another_failure(cause):
    assert len(stopped_by(*(ended(cause=cause.format(n, n)) for n in range(IN_A_ROW)))) == 1
