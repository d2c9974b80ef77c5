"""The arms of a sweep: the entries below `strategies`, each under a name of its own.

An arm's name stands for it everywhere: in the search space, the record, the tables. Its strategy is
the registered one that `strategy:` names, or the one that it is named like. Of several models each
has an arm of its own, `full-resnet10t`, unless the entry names one (`model:`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

BASELINES = ("full", "linear_probe")
"""Strategies of which every sweep has an arm, unless `search.baselines` is false."""

SINGLE = "one configuration, nothing to tune"
"""What is said of an arm that searches nothing."""

MOST_CHARACTERS = 80


def name_problem(name: str) -> str | None:
    """Why an arm cannot have this name; None where it can. The name is a part of folders, of
    MLflow's keys and of Optuna's parameter names (`arm.parameter`)."""
    if re.search(r"-\d+$", name):
        return "an arm's name cannot end in - and a number, as the names of confirm runs do"
    if re.fullmatch(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{0,{MOST_CHARACTERS - 1}}}", name):
        return None
    if len(name) > MOST_CHARACTERS:
        return f"its name has {len(name)} characters; {MOST_CHARACTERS} at most"
    near = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-") or "arm"
    return f'an arm\'s name is of letters, digits, _ and - alone, as in "{near}"'


def arm_with_model(arm: str, model: str) -> str:
    """An arm's name with one of several models: `full-resnet10t`. It may stand in names of folders
    and parameters, as the arm's own.

    >>> arm_with_model("full", "hf-hub:timm/resnet18.a1_in1k")
    'full-resnet18_a1_in1k'
    """
    return f"{arm}-{label_of(model)}"


def label_of(model: str) -> str:
    """A model's name as a part of an arm's."""
    own = model.rstrip("/").replace(":", "/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9]+", "_", own).strip("_")


def arm_of(strategy: str, strategies: Mapping[str, str]) -> str | None:
    """The arm that stands for a registered strategy, such as the baseline `full`: the one of that
    name, else the only one of that strategy; None where there is none, or several.

    Args:
        strategies: arm -> its registered strategy.
    """
    own = [arm for arm, its in strategies.items() if its == strategy]
    if strategy in own:
        return strategy
    return own[0] if len(own) == 1 else None
