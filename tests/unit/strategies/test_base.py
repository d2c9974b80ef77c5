"""The contract: parameters that say what is wrong, layer sums, the registry."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raysel.models.layers import Layer, Partition
from raysel.strategies import registry
from raysel.strategies.base import Decision, Parameter, Step, Strategy
from raysel.strategies.registry import register, registered
from raysel.strategies.static import Full

LAYERS = ["stem", "body", "head"]

DECAY = Parameter("ema_decay", "float", 0.9, "…", low=0.0, high=1.0, open_ends=True)
COUNT = Parameter("count", "int", 1, "…", low=1)
RULE = Parameter("rule", "choice", "first", "…", options=("first", "last"))
BLOCK = Parameter("block", "layers", None, "…")
FLAG = Parameter("flag", "bool", True, "…")
OPTIONAL = Parameter("threshold", "float", None, "…", low=0.0, optional=True)


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *((DECAY, v) for v in (0.5, 1e-9, 0.999999)),
        *((COUNT, v) for v in (1, 10**6)),
        *((RULE, v) for v in ("first", "last")),
        *((BLOCK, v) for v in ("stem", "stem+head", "head+body+stem")),
        *((FLAG, v) for v in (True, False)),
        *((OPTIONAL, v) for v in (None, 0.0, 0, 5)),
    ],
)
def test_an_accepted_value_has_no_problem(parameter, value):
    assert parameter.problem(value, LAYERS) is None


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        (DECAY, 1.2, ["1.2", "(0, 1)", "0.9"]),
        (DECAY, 1.0, ["(0, 1)"]),  # alpha = 1 freezes the averages
        (DECAY, 0.0, ["(0, 1)"]),
        (DECAY, math.nan, ["nan"]),
        (DECAY, "0.9", ["number", "0.9"]),
        (DECAY, True, ["number"]),
        (DECAY, None, ["number"]),
        (COUNT, 0, ["0", "[1, inf)", "1"]),
        (COUNT, 1.5, ["whole"]),
        (COUNT, True, ["whole"]),
        (RULE, "frist", ["frist", "first"]),
        (RULE, 3, ["3"]),
        (BLOCK, "layer9", ["layer9", "stem, body, head"]),
        (BLOCK, "stem+", ["stem, body, head"]),
        (BLOCK, "stem + head", ["stem, body, head"]),
        (BLOCK, "", ["stem, body, head"]),
        (BLOCK, None, ["stem, body, head"]),
        (BLOCK, 3, ["stem, body, head"]),
        (FLAG, 1, ["true or false"]),
        (FLAG, "true", ["true or false"]),
        (OPTIONAL, -0.1, ["-0.1", "[0, inf)"]),
    ],
)
def test_a_problem_says_what_was_given_and_what_is_accepted(parameter, value, said):
    problem = parameter.problem(value, LAYERS)
    assert problem is not None
    assert all(words in problem for words in said), problem


def test_a_layer_named_twice_is_a_problem_or_the_same_as_once():
    """A mask knows each layer once, however often it is named."""
    partition = Partition(tuple(Layer(n, (f"{n}.w",), (1,)) for n in LAYERS), ())
    surgical = registered()["surgical"]
    once = surgical(partition, {"block": "stem"}).decide(_step([None] * 3)).weights
    if BLOCK.problem("stem+stem", LAYERS) is None:
        twice = surgical(partition, {"block": "stem+stem"}).decide(_step([None] * 3)).weights
        assert torch.equal(once, twice)


@pytest.mark.parametrize(
    ("parameter", "interval"), [(DECAY, "(0, 1)"), (COUNT, "[1, inf)"), (OPTIONAL, "[0, inf)")]
)
def test_an_interval_is_written_as_it_is_meant(parameter, interval):
    assert parameter.interval() == interval


def test_every_strategys_defaults_are_accepted_by_themselves():
    """But for those that the user must give."""
    for strategy in registered().values():
        for parameter in strategy.parameters:
            if parameter.default is not None or parameter.optional:
                assert parameter.problem(parameter.default, LAYERS) is None, parameter


# --- a step ---------------------------------------------------------------------------------------


def _step(gradients: list[Tensor | None], layer_of: list[int] | None = None) -> Step:
    layer_of = layer_of or list(range(len(gradients)))
    return Step(
        number=1,
        parameters=[nn.Parameter(torch.zeros(2)) for _ in gradients],
        gradients=gradients,
        squared_norms=torch.zeros(len(gradients), dtype=torch.float64),
        layer_of=torch.tensor(layer_of),
        layer_count=max(layer_of) + 1,
        momentum_buffers=None,
        momentum=0.0,
    )


def test_tensors_are_summed_into_their_layers_in_float64():
    step = _step([None] * 5, [0, 2, 0, 1, 2])
    total = step.by_layer(torch.tensor([1e8, 2.0, 1.0, 4.0, 8.0]))
    assert total.dtype == torch.float64
    assert total.tolist() == [1e8 + 1, 4.0, 10.0]  # float32 would lose the 1


def test_a_layer_without_a_tensor_that_moves_sums_to_0():
    assert _step([None] * 2, [0, 2]).by_layer(torch.tensor([1.0, 2.0])).tolist() == [1, 0, 2]


def test_it_knows_which_tensors_got_a_gradient_and_which_layers_were_reached():
    gradient = torch.ones(2)
    assert _step([gradient, gradient]).has_gradient is None  # all of them: nothing to choose
    step = _step([gradient, None, None, gradient], [0, 0, 1, 2])
    assert step.has_gradient is not None
    assert step.has_gradient.tolist() == [True, False, False, True]
    assert step.layers_with(step.has_gradient).tolist() == [True, False, True]


# --- strategies and their registry ----------------------------------------------------------------

PARTITION = Partition(
    (
        Layer("stem", ("a.weight", "a.bias"), (6, 2)),
        Layer("body", ("b.weight",), (40,)),
        Layer("head", ("norm.weight", "c.weight"), (4, 10)),
    ),
    ("c.weight",),
)


class _Odd(Strategy):
    name = "odd"
    summary = "every second layer"
    paper = "a test"
    parameters = (COUNT, OPTIONAL)

    def trainable(self) -> list[int]:
        return [0, 2]

    def active(self, epoch: int, epochs: int) -> list[int]:
        return [2] if epoch == 1 else [0, 1, 2]

    def decide(self, step: Step) -> Decision:
        return Decision(torch.tensor([1.0, 0.0, 1.0]))


def test_defaults_fill_what_is_not_given():
    assert _Odd(PARTITION, {}).values == {"count": 1, "threshold": None}
    assert _Odd(PARTITION, {"count": 3}).values == {"count": 3, "threshold": None}


def test_what_may_move_is_named_by_parameter():
    assert _Odd(PARTITION, {}).trainable_parameters() == {
        *("a.weight", "a.bias", "norm.weight", "c.weight")
    }


def test_what_may_move_in_an_epoch_is_a_part_of_what_may_ever_move():
    odd = _Odd(PARTITION, {})
    assert odd.active_parameters(1, 5) == {"norm.weight", "c.weight"}
    assert odd.active_parameters(2, 5) == odd.trainable_parameters()


def test_a_strategy_that_says_nothing_may_move_everything_and_learns_nothing():
    full = Full(PARTITION, {})
    every = {name for layer in PARTITION.layers for name in layer.parameters}
    assert full.trainable_parameters() == full.active_parameters(1, 3) == every
    assert full.state_dict() == {}
    assert Full.refine(PARTITION) is PARTITION


@pytest.fixture
def empty_registry(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", {})


def _named(name: str, module: str) -> type[Strategy]:
    members: dict[str, Any] = {
        "name": name,
        "summary": "none",
        "paper": "none",
        "__module__": module,
        "decide": _Odd.decide,
    }
    return type("Some", (Strategy,), members)


@pytest.mark.usefixtures("empty_registry")
def test_a_strategy_is_found_by_its_name_in_alphabetical_order():
    b, a = register(_named("b", "one")), register(_named("a", "one"))
    assert list(registered().items()) == [("a", a), ("b", b)]


@pytest.mark.usefixtures("empty_registry")
def test_two_strategies_of_one_name_are_refused_but_a_reload_is_not():
    first = register(_named("same", "one"))
    with pytest.raises(ValueError, match='"same"'):
        register(_named("same", "another"))
    assert registered() == {"same": first}
    again = register(_named("same", "one"))
    assert registered() == {"same": again}


@pytest.mark.usefixtures("empty_registry")
def test_the_registry_that_is_handed_out_is_a_copy():
    registered()["intruder"] = _Odd
    assert registered() == {}


def test_a_strategy_file_of_an_older_sweep_finds_register_where_it_was():
    module: dict[str, Any] = {}
    exec("from raysel.strategies.base import register, registered", module)
    assert module["register"] is register
    assert module["registered"] is registered
    with pytest.raises(ImportError, match="registre"):
        exec("from raysel.strategies.base import registre", module)


def test_every_strategy_says_what_it_is():
    for name, strategy in registered().items():
        assert strategy.name == name
        assert strategy.summary and strategy.paper
        assert strategy.needs <= {"source_inputs", "source_labels"}
        assert len({p.name for p in strategy.parameters}) == len(strategy.parameters)
        assert all(p.help for p in strategy.parameters)
