"""One value that the search chooses for one arm."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysel.models.partition_types import joined_layers
from raysel.search.distributions import described, top
from raysel.search.layer_sets import LayerSet
from raysel.spec.values import Choice, Distribution, FloatRange, IntRange

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class SearchedValue:
    """One value that is searched for one arm.

    Attributes:
        strategy: the arm's name.
        published: what is tried first: the file's own `first`, else the paper's value; the
            nearest one that the distribution holds.
        moved_from: that value itself, where the distribution does not hold it.
    """

    strategy: str
    name: str
    distribution: Distribution
    published: Any
    moved_from: Any = None

    @property
    def scoped(self) -> str:
        """The name in the study."""
        return f"{self.strategy}.{self.name}"

    def suggest(self, trial: BaseTrial) -> Any:
        """Let the trial choose."""
        match self.distribution:
            case FloatRange(bounds=(low, _), log=log, step=step) as real:
                return trial.suggest_float(self.scoped, low, top(real), step=step, log=log)
            case IntRange(bounds=(low, _), log=log, step=step) as whole:
                return trial.suggest_int(self.scoped, low, int(top(whole)), step=step, log=log)
            case LayerSet() as layers:
                return layers.suggest(trial, self.scoped)
            case Choice(options=options):
                return trial.suggest_categorical(self.scoped, options)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of which it is a growing set; none where it is no such set."""
        if isinstance(self.distribution, LayerSet):
            return tuple(map(str, self.distribution.options))
        return ()

    def in_study(self, value: Any) -> dict[str, Any]:
        """A value under the study's names."""
        return self.set_in_study(self.named(value)) if self.layers else {self.scoped: value}

    def set_in_study(self, chosen: Collection[str]) -> dict[str, Any]:
        """A growing set with these layers, under the study's names."""
        assert isinstance(self.distribution, LayerSet)
        return dict(self.distribution.in_study(self.scoped, chosen))

    def named(self, value: str) -> frozenset[str]:
        """The layers that a value of a growing set names."""
        return frozenset(joined_layers(value, self.layers))

    def __str__(self) -> str:
        return f"{self.name} {described(self.distribution)}"
