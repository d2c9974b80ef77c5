"""Rounds of the confirm phase: how many splits each has, and what is still open."""

from __future__ import annotations

import pytest

from raysel.spec.sweep import ConfirmSpec
from raysel.sweep.confirm_rounds import level_of, looks, rounds, undecided
from raysel.sweep.results import Comparison, Verdict

UNTIL = {"until": "decided", "splits": 3, "smallest_effect": 0.01}


@pytest.mark.parametrize(
    ("first", "most", "expected"),
    [(3, 20, (3, 5, 7, 10, 14, 20)), (5, 5, (5,)), (3, 4, (3, 4)), (4, 9, (4, 6, 9))],
)
def test_each_round_has_about_forty_percent_more(first, most, expected):
    assert looks(first, most) == expected


def test_a_sweep_has_one_round_unless_it_goes_until_the_question_is_decided():
    assert rounds(ConfirmSpec(splits=7)) == (7,)
    assert level_of(ConfirmSpec(splits=7)) == 0.05
    until = ConfirmSpec.model_validate({**UNTIL, "max_runs": 20})
    assert rounds(until) == (3, 5, 7, 10, 14, 20)
    assert 0.05 / 6 < level_of(until) < 0.05


def test_seeds_of_a_split_count_as_runs():
    assert rounds(ConfirmSpec.model_validate({**UNTIL, "max_runs": 20, "seeds": 2})) == (
        3,
        5,
        7,
        10,
    )


def compared(ours: str, outcome: str) -> Comparison:
    return Comparison.model_validate({"ours": ours, "theirs": "full", "outcome": outcome})


def test_only_strategies_whose_question_is_open_get_more_runs():
    contrasts = (compared("bvg_ls", "not_shown"), compared("surgical", "better"))
    verdict = Verdict(winner="surgical", outcome="not_shown", contrasts=contrasts)
    assert undecided(verdict) == {"bvg_ls", "full"}


@pytest.mark.parametrize("outcome", ["better", "worse", "no_relevant_difference", "unequal_effort"])
def test_nothing_is_open_once_the_outcome_is_there(outcome):
    assert undecided(Verdict(winner="bvg_ls", against="full", outcome=outcome)) == set()
    open_one = Verdict(winner="bvg_ls", against="full", outcome="not_shown")
    assert undecided(open_one) == {"bvg_ls", "full"}
