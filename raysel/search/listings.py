"""Listings: the layers of a model, the strategies and their parameters.

Rows of plain values, for the command line's tables and its JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from raysel.common.errors import nearest, user_error
from raysel.models.partition_types import Rule
from raysel.search.distributions import described
from raysel.search.layer_sets import GREEDY
from raysel.search.space import CROSS_VALIDATION
from raysel.strategies import Strategy, registered
from raysel.strategies.base import Parameter

# --- layers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerRow:
    """One layer; `share` (0..1) of the model's parameters, `tensor` its first, of `shape`."""

    name: str
    parameters: int
    share: float
    tensor: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LayerTable:
    """The layers of a model in forward order; `notes`: what to know of them, in sentences."""

    model: str
    partition: str
    parameters: int
    layers: tuple[LayerRow, ...]
    notes: tuple[str, ...]


def layer_table(model: str, rule: Rule, classes: int) -> LayerTable:
    """The partition of a timm model, without its weights.

    Raises:
        UserError: there is no such model, or it cannot be built or cut so.
    """
    from raysel.models.layers import partition_of, shapes_of  # noqa: PLC0415  (imports timm)

    found = partition_of(model, rule, classes)
    shapes = {name: tuple(p.shape) for name, p in shapes_of(model, classes).named_parameters()}
    rows = (
        LayerRow(layer.name, layer.size, layer.size / found.size, first, shapes[first])
        for layer in found.layers
        for first in layer.parameters[:1]
    )
    return LayerTable(model, str(rule), found.size, tuple(rows), found.notes)


# --- strategies ---------------------------------------------------------------------------------

SEARCHES = {
    CROSS_VALIDATION: "a search, not a strategy (search.sampler: cross_validation): one trial for"
    " each single layer with surgical, on the same splits; the best layer by validation",
    GREEDY: "a search, not a strategy (search.sampler: greedy): the layers of surgical or blockwise"
    " grow by one a round, until none lowers the validation error by its standard error",
}
"""Methods of the papers that are a way to search."""

_PAPERS = {
    CROSS_VALIDATION: "Lee et al., Surgical Fine-Tuning (Cross-Val)",
    GREEDY: "Kaplun et al., SubTuning, Algorithm 1",
}


@dataclass(frozen=True)
class StrategyRow:
    """One strategy in a line; `needs` in words, `kind`: strategy, search, or own (from a file
    of the user's)."""

    name: str
    kind: str
    summary: str
    needs: str
    paper: str

    @property
    def origin(self) -> str:
        """Where it comes from and what it needs, in parentheses."""
        needs = "" if self.needs == "nothing" else f"; needs {self.needs}"
        return f"({self.paper}{needs})"


@dataclass(frozen=True)
class ParameterRow:
    """One parameter of a strategy: what it is, the paper's value, what is accepted, what the
    word `search` stands for (empty where there is no such range)."""

    name: str
    type: str
    default: str
    range: str
    search: str
    help: str


@dataclass(frozen=True)
class StrategyCard:
    """Everything that a strategy declares.

    Attributes:
        cost: `before`, `during`, `memory`: what it costs beside an ordinary training, in words.
        published: how the paper trains, as far as it says.
        differs: where the strategy departs from its paper; empty where it does not.
    """

    name: str
    summary: str
    paper: str
    needs: str
    parameters: tuple[ParameterRow, ...]
    cost: dict[str, str]
    batch_norm: str
    published: dict[str, Any]
    differs: str = ""


def strategy_rows(own: Iterable[str] = ()) -> list[StrategyRow]:
    """Every known strategy, in alphabetical order, then the searches of the papers.

    Args:
        own: modules of the user's own files.
    """
    modules = set(own)
    rows = [
        StrategyRow(
            name,
            "own" if strategy.__module__ in modules else "strategy",
            strategy.summary,
            needs_in_words(strategy),
            strategy.paper,
        )
        for name, strategy in registered().items()
    ]
    searches = (
        StrategyRow(name, "search", words, "nothing", _PAPERS[name])
        for name, words in SEARCHES.items()
    )
    return [*rows, *searches]


def strategy_card(name: str) -> StrategyCard:
    """What one strategy declares.

    Raises:
        UserError: there is none of that name, or it is a search.
    """
    if name in SEARCHES:
        raise user_error(name, f"is {SEARCHES[name]}")
    strategy = registered().get(name)
    if strategy is None:
        hint = nearest(name, [*registered(), *SEARCHES])
        raise user_error("", f'no strategy is called "{name}"; {hint}')
    cost = strategy.cost
    return StrategyCard(
        name=name,
        summary=strategy.summary,
        paper=strategy.paper,
        needs=needs_in_words(strategy),
        parameters=tuple(map(_parameter_row, strategy.parameters)),
        cost={"before": cost.before, "during": cost.during, "memory": cost.memory},
        batch_norm=strategy.batch_norm,
        published=strategy.published.model_dump(mode="json", exclude_none=True),
        differs=strategy.differs,
    )


def needs_in_words(strategy: type[Strategy]) -> str:
    """`nothing`, `source inputs`, `source inputs, source labels`."""
    return ", ".join(sorted(need.replace("_", " ") for need in strategy.needs)) or "nothing"


def _parameter_row(parameter: Parameter) -> ParameterRow:
    return ParameterRow(
        name=parameter.name,
        type=parameter.kind,
        default=_default(parameter),
        range=_RANGES[parameter.kind](parameter),
        search=_search(parameter),
        help=parameter.help,
    )


def _default(parameter: Parameter) -> str:
    if parameter.default is not None:
        value = parameter.default
        return str(value).lower() if isinstance(value, bool) else str(value)
    if not parameter.optional:
        return "must be given"
    return "computed" if parameter.published is None else f"computed ({parameter.published})"


_RANGES: dict[str, Callable[[Parameter], str]] = {
    "float": Parameter.interval,
    "int": Parameter.interval,
    "bool": lambda _: "true | false",
    "choice": lambda parameter: " | ".join(parameter.options),
    "layers": lambda _: "layers joined by +",
}


def _search(parameter: Parameter) -> str:
    if parameter.kind == "layers":
        return "every layer"
    return described(parameter.search) if parameter.search is not None else ""
