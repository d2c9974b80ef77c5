"""What there is to choose from, as the command line shows it."""

import json
import sys
from pathlib import Path

import pytest

from raysel.cli import main
from raysel.models import timm
from raysel.search.listings import layer_table, strategy_card, strategy_rows
from raysel.strategies import registered, registry

EXAMPLE = Path(__file__).parents[2] / "integration" / "example_strategy.py"


@pytest.fixture
def restored_registry(monkeypatch):
    """What the test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    yield
    sys.modules.pop("raysel_code_example_strategy", None)


def test_layers_have_every_parameter_once():
    table = layer_table("test_resnet", "coarse", classes=7)
    model = timm.create_model("test_resnet", num_classes=7)
    assert table.parameters == sum(p.numel() for p in model.parameters())
    assert sum(row.parameters for row in table.layers) == table.parameters
    assert sum(row.share for row in table.layers) == pytest.approx(1)
    assert [row.name for row in table.layers][::5] == ["stem", "head"]
    head = table.layers[-1]
    assert (head.tensor, head.shape, head.parameters) == ("fc.weight", (7, 96), 7 * 97)


@pytest.mark.parametrize(("option", "count"), [((), 6), (("--fine",), 6), (("--delimiter",), 16)])
def test_the_other_partitions_are_options(capsys, option, count):
    assert main.main(["layers", "test_resnet", "--json", *option]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert (reported["model"], len(reported["layers"])) == ("test_resnet", count)
    assert reported["layers"][0]["shape"] == [16, 3, 3, 3]


def test_layers_as_a_table_end_with_the_total(capsys):
    assert main.main(["layers", "test_resnet", "--classes", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "test_resnet: 6 layers, 372,979 parameters"
    assert lines[1].split() == ["layer", "parameters", "share", "first", "tensor"]
    assert lines[2].split() == ["stem", "7,472", "2.0%", "conv1.0.weight", "[16,", "3,", "3,", "3]"]
    assert lines[-1].split() == ["total", "372,979", "100.0%"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["layers", "resnet9000"], 'error  model.name: timm has no model "resnet9000"; did you'),
        (["layers", "test_vit", "--fine", "--delimiter"], "error  --fine: give it or --delimiter"),
        (["layers", "test_vit", "--classes", "0"], "error  Invalid value for '--classes'"),
        (["strategies", "bvg"], 'error  no strategy is called "bvg"; did you mean'),
        (["strategies", "cross_validation"], "error  cross_validation: is a search, not a strateg"),
        (["strategies", "--code", "nope.py"], "error  --code: there is no file nope.py"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, line):
    assert main.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(line)


def test_every_strategy_is_listed_and_so_are_the_searches():
    rows = {row.name: row for row in strategy_rows()}
    assert list(rows) == [*registered(), "cross_validation", "greedy"]
    assert all(row.summary and row.paper and row.needs for row in rows.values())
    for name in ("cross_validation", "greedy"):
        assert rows[name].kind == "search"
        assert rows[name].summary.startswith("a search, not a strategy")
    assert {row.kind for row in rows.values()} == {"strategy", "search"}


def test_the_list_names_what_a_strategy_needs(capsys):
    assert main.main(["strategies"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in registered())
    assert main.main(["strategies", "--json"]) == 0
    reported = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    for name, strategy in registered().items():
        assert (reported[name]["needs"] == "nothing") == (not strategy.needs)


@pytest.mark.parametrize("name", list(registered()))
def test_every_strategy_can_be_shown(capsys, name):
    assert main.main(["strategies", name]) == 0
    text = " ".join(capsys.readouterr().out.split())
    card = strategy_card(name)
    assert " ".join(card.paper.split()) in text
    assert card.differs in text
    assert [p.name for p in card.parameters] == [p.name for p in registered()[name].parameters]


def test_a_card_holds_what_is_declared():
    card = strategy_card("bvg_ls_threshold")
    rows = {row.name: row for row in card.parameters}
    threshold = rows["threshold"]
    assert (threshold.type, threshold.default) == ("float", "computed (0.056)")
    assert (threshold.range, threshold.search) == ("(0, inf)", "[0.028, 0.224] log")
    assert rows["ema_init"].range == "paper | debiased"
    assert (card.batch_norm, card.published["batch_size"]) == ("train", 128)
    assert set(card.cost) == {"before", "during", "memory"}
    (block,) = strategy_card("surgical").parameters
    assert (block.default, block.search) == ("must be given", "every layer")


def test_a_strategy_of_ones_own_is_listed_and_shown(restored_registry, capsys):
    assert main.main(["strategies", "--code", str(EXAMPLE), "--json"]) == 0
    reported = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert reported["fair_share"]["kind"] == "own"
    assert main.main(["strategies", "fair_share", "--code", str(EXAMPLE)]) == 0
    assert "of the largest gradient norm" in capsys.readouterr().out
