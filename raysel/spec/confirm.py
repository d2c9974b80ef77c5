"""What the confirm phase runs, and what its verdict is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, model_validator

from raysel.spec.values import (
    A_VALUE,
    BY_VALUES,
    FrozenModel,
    OneLine,
    PositiveReal,
    StrictBool,
    StrictInt,
)

MOST_SPLITS = 1000

FEWEST_SPLITS = 3
"""Fewer splits show nothing: the spread of two is hardly known."""

FRONT = 3
"""Configurations of each arm that are confirmed with `configurations: front`, its best among them:
with two objectives both ends and the middle."""

SMALLEST_EFFECT = 0.01
"""Differences of test error up to this, a point, are not relevant, where the file does not say."""


class BestBy(FrozenModel):
    """The best configuration for each value of searched parameters."""

    by: Annotated[tuple[OneLine, ...], Field(min_length=1)] = Field(
        description="names of searched values, without the arm: [block]; of an arm that searches"
        " none of them its best"
    )


def _keys_or_word(value: Any) -> str:
    return BY_VALUES if isinstance(value, Mapping | BaseModel) else A_VALUE


Configurations = Annotated[
    Annotated[BestBy, Tag(BY_VALUES)] | Annotated[Literal["best", "front", "all"], Tag(A_VALUE)],
    Discriminator(_keys_or_word),
]


class ConfirmSpec(FrozenModel):
    """The best of each strategy, trained again on other splits; the test part is read here."""

    splits: Annotated[StrictInt, Field(gt=0, le=MOST_SPLITS)] = Field(
        default=5,
        description="the test part stays; training and validation parts are drawn again so many"
        " times. 1 is the search's own split, from which nothing follows about others",
    )
    seeds: Annotated[StrictInt, Field(gt=0, le=1000)] = Field(
        default=1,
        description="training seeds of each split; given without splits, so many splits with one"
        " seed each",
    )
    source_seeds: Annotated[StrictInt, Field(gt=0, le=100)] = Field(
        default=1, description="source models, each with a seed of its own; the splits take turns"
    )
    until: Literal["decided"] | None = Field(
        default=None,
        description="decided: splits are added in rounds until the verdict's interval excludes"
        " zero, or lies within smallest_effect of it",
    )
    max_runs: Annotated[StrictInt, Field(gt=0, le=MOST_SPLITS)] = Field(
        default=20,
        description="the most runs of a strategy, with until; its other configurations have those"
        " of the first round",
    )
    smallest_effect: Annotated[PositiveReal, Field(lt=1)] | None = Field(
        default=None,
        description="the smallest difference of test error that matters: 0.01 is a point, and what"
        " is meant where nothing is given",
    )
    configurations: Configurations = Field(
        default="best",
        description="which ones of each arm are trained again: the best; all that have a result;"
        " {by: [block]}, the best for each value; or, of several objectives, front: the best and"
        " two more that no other one dominates. The verdict takes each arm's best",
    )
    epoch: Literal["best", "last"] = Field(
        default="best", description="the tested epoch: best by validation, or the last"
    )
    test_every_epoch: StrictBool = Field(
        default=False,
        description="the test curve of every confirm run, for a paper's figure: the search has"
        " fixed the configurations by then, and neither epoch nor winner is chosen by it",
    )

    @model_validator(mode="before")
    @classmethod
    def _seeds_alone(cls, given: Any) -> Any:
        """As many runs as before there were splits, each on a split of its own."""
        if not isinstance(given, dict) or "splits" in given:
            return given
        seeds = given.get("seeds")
        return given | {"splits": seeds, "seeds": 1} if type(seeds) is int and seeds > 0 else given

    @property
    def relevant(self) -> float:
        """The smallest difference that matters."""
        return self.smallest_effect or SMALLEST_EFFECT

    @property
    def chosen_in_words(self) -> str:
        """What is confirmed: `the best of each strategy`."""
        if isinstance(self.configurations, BestBy):
            return f"the best of each strategy for each {', '.join(self.configurations.by)}"
        if self.configurations == "front":
            return f"up to {FRONT} of each strategy's Pareto front"
        every = "every configuration of each strategy"
        return every if self.configurations == "all" else "the best of each strategy"

    @property
    def runs(self) -> int:
        """Of each configuration, at most."""
        return self.most_splits * self.seeds

    @property
    def most_splits(self) -> int:
        """Splits of the last round."""
        return self.splits if self.until is None else max(self.splits, self.max_runs // self.seeds)


def _contrast(text: str) -> str:
    names = text.split(" - ")
    if len(names) != 2 or not all(name.strip() for name in names):
        raise ValueError("give two strategies, as in: bvg_ls - random_layer")
    return text


class VerdictSpec(FrozenModel):
    """What the verdict is about, beside every strategy against full fine-tuning."""

    contrasts: tuple[Annotated[str, AfterValidator(_contrast)], ...] = Field(
        default=(),
        description="differences that are asked for before the sweep: bvg_ls - random_layer",
    )

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Names of the two strategies of each contrast."""
        return tuple(
            (first.strip(), second.strip())
            for first, second in (contrast.split(" - ") for contrast in self.contrasts)
        )
