"""A parameter that a strategy declares: its kind, its default, what is accepted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from raysel.common.errors import nearest
from raysel.models.partition_types import joined_layers
from raysel.spec.sweep import Choice, Distribution, FloatRange, IntRange
from raysel.spec.yaml_core import in_a_line

DISTRIBUTIONS: dict[str, tuple[type, ...]] = {
    "float": (FloatRange, IntRange, Choice),
    "int": (IntRange, Choice),
    "bool": (Choice,),
    "choice": (Choice,),
    "layers": (Choice,),
}
"""What may be searched in place of a value of each kind."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a strategy.

    Attributes:
        default: the paper's value; None where the user must give one.
        kind: `float`, `int`, `bool`, `choice` (of `options`), or `layers`: one or several
            layer names of the model, joined by `+`.
        low, high: the accepted range of a number; the ends belong to it unless `open_ends`.
        optional: whether None is a value (the strategy then computes its own).
        published: the paper's value where the default is computed.
        search: what the word `search` in a sweep file stands for; for `layers` it is
            every layer of the model, for `bool` and `choice` every option if not given.

    Raises:
        ValueError: a kind that there is not, a default that is not accepted, or a search that
            does not suit the kind.
    """

    name: str
    kind: Literal["float", "int", "bool", "choice", "layers"]
    default: Any
    help: str
    low: float = -math.inf
    high: float = math.inf
    open_ends: bool = False
    options: tuple[str, ...] = ()
    optional: bool = False
    published: Any = None
    search: Distribution | None = None

    def __post_init__(self) -> None:
        wrong = self._declared_wrongly()
        if wrong:
            raise ValueError(f"parameter {self.name}: {wrong}")

    @property
    def has_search(self) -> bool:
        """Whether the word `search` stands for something: a range that is declared, or the options
        of what has no other values."""
        return self.search is not None or self.kind in ("layers", "bool", "choice")

    def _declared_wrongly(self) -> str | None:
        if self.kind not in DISTRIBUTIONS:
            return f'no kind is called "{self.kind}"; {nearest(str(self.kind), DISTRIBUTIONS)}'
        if self.kind == "choice" and not (isinstance(self.options, tuple) and self.options):
            return 'a choice needs options=("a", "b")'
        if self.search is not None and not isinstance(self.search, DISTRIBUTIONS[self.kind]):
            kinds = " or ".join(f"{kind.__name__}(…)" for kind in DISTRIBUTIONS[self.kind])
            return f"search is {self.search!r}; give {kinds}, or nothing"
        if self.default is None or self.kind == "layers":
            return None
        wrong = self.problem(self.default, ())
        return wrong and f"its default: {wrong.split(';')[0]}"

    def problem(self, value: Any, layers: Iterable[str]) -> str | None:
        """What is wrong with `value` for a model with these `layers`; None if nothing is."""
        if value is None and self.optional:
            return None
        if self.kind == "layers":
            return self._layers_problem(value, list(layers))
        if self.kind == "bool":
            return None if isinstance(value, bool) else f"{in_a_line(value)} is not true or false"
        if self.kind == "choice":
            known = value in self.options
            return None if known else f"{in_a_line(value)} is unknown; {self._near(value)}"
        return self._number_problem(value)

    def _number_problem(self, value: Any) -> str | None:
        whole = self.kind == "int"
        accepted = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, accepted):
            return f"{in_a_line(value)} is not a {'whole ' if whole else ''}number; {self._paper()}"
        inside = self.low < value < self.high if self.open_ends else self.low <= value <= self.high
        return None if inside else f"{value:g} is outside {self.interval()}; {self._paper()}"

    def _layers_problem(self, value: Any, layers: list[str]) -> str | None:
        if not isinstance(value, str) or not value:
            return f"give one of {', '.join(layers)}, or several joined by +"
        named = joined_layers(value, layers)
        for name in named:
            if name not in layers:
                return f'the model has no layer "{name}"; it has {", ".join(layers)}'
            if named.count(name) > 1:
                return f'{in_a_line(value)} names "{name}" twice'
        return None

    def _paper(self) -> str:
        if self.default is None:
            return "there is no default"
        return f"the paper uses {in_a_line(self.default)}"

    def _near(self, value: Any) -> str:
        return nearest(value if isinstance(value, str) else in_a_line(value), self.options)

    def interval(self) -> str:
        """The accepted range as it is written: `(0, 1)`, `[1, 6]`, `[0, inf)`."""
        left = "(" if self.open_ends or math.isinf(self.low) else "["
        right = ")" if self.open_ends or math.isinf(self.high) else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"
