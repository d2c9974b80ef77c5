"""Rounds of the confirm phase: how many splits each has, and what is still open."""

from __future__ import annotations

import pytest

from raysel.spec.sweep import ConfirmSpec
from raysel.sweep.confirm_rounds import asked, level_of, looks, rounds, undecided
from raysel.sweep.results import Comparison, Verdict
from raysel.sweep.verdict_words import round_in_words

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
    own = {"winner": "bvg_ls", "against": "full", "difference": -0.02}
    assert undecided(Verdict(**own, outcome=outcome)) == set()
    assert undecided(Verdict(**own, outcome="not_shown")) == {"bvg_ls", "full"}


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(),
        Verdict(winner="full", outcome="winner_is_full"),
        Verdict(winner="bvg_ls", outcome="no_baseline"),
        Verdict(winner="bvg_ls", against="full", outcome="no_baseline"),
    ],
)
def test_without_a_comparison_nothing_is_asked(verdict):
    assert asked(verdict) == () and undecided(verdict) == set()


def test_a_rounds_line_has_the_interval_and_what_is_open():
    wide = {"difference": 0.021, "low": -0.034, "high": 0.076, "outcome": "not_shown"}
    narrow = {"difference": -0.03, "low": -0.04, "high": -0.02, "outcome": "better"}
    contrasts = [
        Comparison(ours="a", theirs="full", **wide),
        Comparison(ours="b", theirs="a", **narrow),
    ]
    assert round_in_words(contrasts) == (
        "a − full +2.1 points (−3.4 to +7.6), open; b − a −3.0 points (−4.0 to −2.0), better"
    )
    own = Verdict(winner="a", against="full", **wide)
    assert round_in_words(asked(own)) == "a − full +2.1 points (−3.4 to +7.6), open"
    assert round_in_words([Comparison(ours="a", theirs="b")]) == "a − b: no runs"
