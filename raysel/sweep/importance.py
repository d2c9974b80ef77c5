"""Which searched values decide whether a trial is among the best (PED-ANOVA, Watanabe et al. 2023).

Functional ANOVA, Optuna's default, takes minutes for some hundred trials; this takes none, and
measures against what the sampler tried and not against the whole space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial, create_trial

from raysel.common.deferred import Deferred
from raysel.record.state import COMPLETE, TrialState
from raysel.search.space import Space
from raysel.spec.sweep import Spec
from raysel.sweep.results import Importance

optuna_importance = Deferred("optuna.importance")
"""Imports scikit-learn, which only the end of a sweep needs."""

FEWEST = 20
"""Fewest complete trials for an importance."""

BEST = 0.25
"""The share of the trials that count as the best."""

Sampled = Mapping[str, tuple[Any, BaseDistribution]]
"""Value name -> the sampled value and its distribution."""


def importance(spec: Spec, space: Space, search: Sequence[TrialState]) -> list[Importance]:
    """Of all trials together, then of each strategy's own.

    Args:
        search: the search's trials; only complete ones are looked at, for a pruned one's last
            value is not what it would have come to.

    Returns:
        One for each group with two or more values that all its trials searched alike, and `FEWEST`
        trials.
    """
    complete = [t for t in search if t.status == COMPLETE and t.value is not None]
    groups: dict[str | None, list[TrialState]] = {None: complete}
    if len(space.strategies) > 1:
        groups |= {s: [t for t in complete if t.strategy == s] for s in space.strategies}
    rows = []
    for strategy, trials in groups.items():
        differ = len({trial.value for trial in trials}) > 1
        shares = _shares(spec, space, trials) if len(trials) >= FEWEST and differ else {}
        if shares:
            rows.append(Importance(strategy=strategy, trials=len(trials), of=shares))
    return rows


def _shares(spec: Spec, space: Space, trials: Sequence[TrialState]) -> dict[str, float]:
    """Nothing where there is but one value to weigh."""
    sampled = [_sampled(space, trial) for trial in trials]
    names = [name for name in sampled[0] if _is_shared(name, sampled)]
    if len(names) < 2:
        return {}
    study = optuna.create_study()
    for values, trial in zip(sampled, trials, strict=True):
        study.add_trial(
            create_trial(
                value=trial.value,
                params={name: values[name][0] for name in names},
                distributions={name: values[name][1] for name in names},
            )
        )
    evaluator = optuna_importance.PedAnovaImportanceEvaluator(target_quantile=BEST)
    shares = optuna_importance.get_param_importances(study, evaluator=evaluator, params=names)
    return {name: float(share) for name, share in shares.items()}


def _sampled(space: Space, trial: TrialState) -> Sampled:
    asked = FixedTrial(dict(trial.suggested))
    space.suggest(asked)
    return {
        scoped.partition(".")[2] or scoped: (value, asked.distributions[scoped])
        for scoped, value in asked.params.items()
    }


def _is_shared(name: str, sampled: Sequence[Sampled]) -> bool:
    """Whether all trials sampled the value from the same distribution, and not all got the same."""
    if not all(name in one for one in sampled):
        return False
    values, sources = zip(*(one[name] for one in sampled), strict=True)
    return len(set(values)) > 1 and all(source == sources[0] for source in sources)
