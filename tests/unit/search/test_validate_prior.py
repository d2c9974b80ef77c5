"""What `search.prior` does not go with."""

from __future__ import annotations

import pytest
from controller_kit import sweep

from raysel.common.errors import UserError
from raysel.search.validate_prior import prior_problems

PRIOR = "search.prior=[before]"


@pytest.mark.parametrize(
    ("overrides", "path", "words"),
    [
        ((PRIOR, "search.sampler=grid"), "search.prior", "give tpe, random or qmc"),
        ((PRIOR, "search.sampler=cross_validation"), "search.prior", "learns from no trial"),
        (
            (PRIOR, "objective.secondary=[cost/seconds]"),
            "search.prior",
            "there are 2 (val/error, cost/seconds)",
        ),
        (("search.prior=[a, b, a]",), "search.prior.2", '"a" is listed twice'),
        (("search.prior_weight=1",), "search.prior_weight", "name some in search.prior"),
    ],
)
def test_what_has_no_use_of_earlier_sweeps_is_refused(overrides, path, words):
    (problem,) = prior_problems(sweep(*overrides))
    assert problem.path == path and words in problem.message


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_others_take_them(sampler):
    assert not list(prior_problems(sweep(PRIOR, f"search.sampler={sampler}")))


@pytest.mark.parametrize("address", ["~/runs/a", "http://host/a", "$HOME/a", "''"])
def test_an_address_is_one_of_a_sweep(address):
    with pytest.raises(UserError, match=r"search\.prior\.0"):
        sweep(f"search.prior=[{address}]")


def test_without_earlier_sweeps_a_file_is_written_as_before():
    assert "prior" not in sweep().to_yaml()
    written = sweep(PRIOR, "search.prior_weight=0.5").to_yaml()
    assert "prior:\n  - before\n  prior_weight: 0.5" in written
