"""What the pruner saves, played with the sweep's own pruner."""

from __future__ import annotations

import pytest

from raysel.search.pruning_simulation import pruning_keep_fraction
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec


def spec(pruner: str) -> Spec:
    return parse(
        "name: x\ntask: {data: digits}\nmodel: {name: resnet10t}\nstrategies: {full: }\n"
        f"pruner: {pruner}\n"
    )


def kept(pruner: str, trials: int = 30, epochs: int = 15, most: int = 2) -> float:
    return pruning_keep_fraction(spec(pruner), ("full", "linear_probe"), trials, epochs, most)


def test_without_a_pruner_everything_is_run():
    assert kept("{kind: none}") == 1.0


def test_a_pruner_that_waits_for_the_last_epoch_saves_nothing():
    assert kept("{kind: asha, grace_epochs: 15}") == 1.0


def test_asha_lets_run_what_a_real_search_ran():
    # search_phase.py in the benchmarks: 24 trials of at most 15 epochs, rungs at 3, 6 and 12, of
    # which 165 and 171 epochs were run
    assert kept("{kind: asha, grace_epochs: 3}", trials=24) == pytest.approx(168 / 360, rel=0.15)


def test_a_harsher_rule_saves_more():
    mild, harsh = (kept(f"{{kind: asha, grace_epochs: 3, reduction_factor: {n}}}") for n in (2, 4))
    assert 3 / 15 < harsh < mild < 1


@pytest.mark.parametrize(
    "pruner", ["{kind: hyperband}", "{kind: median}", "{compare: within_strategy}"]
)
def test_every_pruner_can_be_played(pruner):
    assert 3 / 15 <= kept(pruner) < 1


def test_a_large_sweep_is_played_with_fewer_trials():
    assert kept("{kind: asha}", trials=10_000) == pytest.approx(kept("{kind: asha}", trials=60))


def test_the_answer_is_the_same_again():
    assert kept("{kind: asha}") == kept("{kind: asha}")
