"""Pocock's level against his table, other integrations and simulation."""

import math

import numpy as np
import pytest
import statistics_oracle as oracle
from few_kit import crossed
from scipy import integrate, stats

from raysel.sweep.statistics.sequential import crossing_probability, nominal_level

# Pocock 1977, table 1: two-sided nominal levels at an overall level of .05
POCOCK = {1: 0.05, 2: 0.0294, 3: 0.0221, 4: 0.0182, 5: 0.0158, 10: 0.0106}

UNEQUAL = [(3, 5), (3, 4, 5), (3, 6, 12), (5, 6, 20), (2, 3, 5, 8), (3, 5, 8, 12, 20), (1, 50)]


@pytest.mark.parametrize("looks", POCOCK)
def test_the_published_levels(looks: int) -> None:
    for step in (1, 3):
        level = nominal_level(tuple(step * (i + 1) for i in range(looks)), alpha=0.05)

        assert level == pytest.approx(POCOCK[looks], abs=6e-5)


@pytest.mark.parametrize(
    ("looks", "alpha"), crossed([*UNEQUAL, tuple(range(3, 13)), (4,)], [0.01, 0.05, 0.1])
)
def test_the_level_agrees_with_gauss_legendre(looks: tuple[int, ...], alpha: float) -> None:
    assert nominal_level(looks, alpha) == pytest.approx(oracle.pocock_level(looks, alpha), abs=1e-9)


@pytest.mark.parametrize("looks", UNEQUAL)
@pytest.mark.parametrize("bound", [0.5, 1.96, 2.4, 3.5])
def test_the_crossing_probability_agrees_with_gauss_legendre(
    looks: tuple[int, ...], bound: float
) -> None:
    assert crossing_probability(looks, bound) == pytest.approx(
        oracle.crossing(looks, bound), abs=1e-9
    )


@pytest.mark.parametrize(
    ("looks", "bound"),
    crossed(
        [(1, 2), (3, 5), (5, 6), (1, 50), (3, 4, 5), (1, 2, 3), (3, 6, 12)], [0.5, 1.96, 2.4, 3.5]
    ),
)
def test_the_crossing_probability_agrees_with_the_joint_normal(
    looks: tuple[int, ...], bound: float
) -> None:
    expected = oracle.crossing_by_the_normal(looks, bound)

    # scipy's two looks are exact, its three are by quasi-random points
    assert crossing_probability(looks, bound) == pytest.approx(
        expected, abs=1e-9 if len(looks) == 2 else 2e-5
    )


@pytest.mark.parametrize(("first", "second"), [(3, 5), (3, 4), (1, 30)])
def test_the_crossing_probability_agrees_with_an_adaptive_integral(first: int, second: int) -> None:
    bound = 2.178

    def stays(z: float) -> float:
        at, scale = z * math.sqrt(first), math.sqrt(second - first)
        half = bound * math.sqrt(second)
        inside = stats.norm.cdf((half - at) / scale) - stats.norm.cdf((-half - at) / scale)
        return float(stats.norm.pdf(z) * inside)

    expected = 1 - integrate.quad(stays, -bound, bound, epsabs=1e-13)[0]
    assert crossing_probability((first, second), bound) == pytest.approx(expected, abs=1e-9)


def test_one_look_is_the_plain_normal() -> None:
    assert crossing_probability((7,), 1.5) == pytest.approx(2 * stats.norm.sf(1.5), abs=1e-9)
    assert nominal_level((7,), 0.05) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize("looks", [(3, 5, 8, 12, 20), (3, 4, 5, 6, 7, 8, 9, 10), (5, 40)])
def test_simulated_paths_cross_the_bound_as_often_as_asked(looks: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    paths = random.normal(size=(40_000, looks[-1])).cumsum(axis=1)
    z = paths[:, [n - 1 for n in looks]] / np.sqrt(looks)

    crossed = (2 * stats.norm.sf(np.abs(z)) < nominal_level(looks, 0.05)).any(axis=1).mean()

    assert crossed == pytest.approx(0.05, abs=0.0033)  # three standard errors


def test_the_level_lies_between_all_of_alpha_and_an_equal_share() -> None:
    for looks in UNEQUAL:
        assert 0.05 / len(looks) < nominal_level(looks, 0.05) < 0.05


def test_a_look_more_costs_level_and_later_looks_are_nearly_independent() -> None:
    assert nominal_level((3, 6, 9), 0.05) < nominal_level((3, 6), 0.05)
    # two looks so far apart that they tell nothing of each other: Šidák's level
    assert nominal_level((1, 10**6), 0.05) == pytest.approx(1 - math.sqrt(0.95), rel=1e-4)
