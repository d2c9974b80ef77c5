"""Strategies of other packages, by the entry-point group; values for a strategy's parameters."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raysel.cli.main import main
from raysel.common.errors import UserError
from raysel.strategies import registry
from raysel.strategies.registry import checked_values, registered, strategy_named
from raysel.sweep.manifest import versions

STRATEGY = """\
import torch
from raysel import Decision, Strategy, register

{decorator}
class Outer(Strategy):
    name = "{name}"
    summary = "everything moves"
    paper = "none"

    def decide(self, step):
        return Decision(torch.ones(len(self.partition)))
"""

PACKAGE, MODULE = "raysel-outer", "raysel_outer"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on sys.path; strategies and modules of the test are forgotten after it."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registered()))
    monkeypatch.setattr(registry, "_entry_points_loaded", False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop(MODULE, None)


def install(
    site: Path, code: str, value: str = f"{MODULE}:Outer", group: str = "raysel.strategies"
) -> None:
    """A distribution as pip would leave it."""
    (site / f"{MODULE}.py").write_text(code)
    info = site / f"{MODULE}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nmine = {value}\n")


def strategy(name: str = "outer", decorator: str = "") -> str:
    return STRATEGY.format(name=name, decorator=decorator)


def refusal() -> str:
    with pytest.raises(UserError) as caught:
        registered()
    return str(caught.value)


# --- entry points -----------------------------------------------------------------------------


def test_a_class_of_another_package_is_a_strategy(site):
    install(site, strategy())
    assert strategy_named("outer").__module__ == MODULE
    assert set(registered()) > {"outer", "full"}


def test_so_is_what_a_module_registers(site):
    install(site, strategy(decorator="@register"), MODULE)
    assert strategy_named("outer").__module__ == MODULE


def test_the_command_line_and_the_sweep_file_know_it(site, capsys):
    install(site, strategy())
    (site / "sweep.yaml").write_text(
        "name: x\ntask: {data: digits}\nmodel: {name: test_resnet}\nstrategies: {outer: }\n"
    )
    assert main(["strategies", "outer"]) == 0
    assert "everything moves" in capsys.readouterr().out
    assert main(["validate", str(site / "sweep.yaml")]) == 0


def test_the_record_names_the_version_of_the_package(site):
    assert PACKAGE not in versions()
    install(site, strategy())
    assert versions()[PACKAGE] == "1.2"


def test_another_group_is_not_looked_at(site):
    install(site, "raise RuntimeError", group="something.else")
    assert "outer" not in registered()


@pytest.mark.parametrize(
    ("code", "value", "said"),
    [
        ("import torhc", MODULE, "ModuleNotFoundError: No module named 'torhc'"),
        ("1 / 0", MODULE, "ZeroDivisionError"),
        ("import sys; sys.exit(3)", MODULE, "SystemExit: 3"),
        (strategy(), f"{MODULE}:Inner", "has no attribute 'Inner'"),
        ("Outer = 3", f"{MODULE}:Outer", "3 is not a strategy"),
        (strategy().replace("name", "label"), f"{MODULE}:Outer", "name is missing"),
        (strategy(), MODULE, "registers no strategy"),
        (
            strategy("full"),
            f"{MODULE}:Outer",
            'two strategies are named "full"; the other is raysel',
        ),
    ],
)
def test_a_broken_one_is_one_line_that_names_the_package(site, code, value, said):
    install(site, code, value)
    message = refusal()
    assert message.startswith(f"package {PACKAGE} 1.2: its strategies cannot be loaded (mine = ")
    assert said in message and "\n" not in message
    assert refusal() == message, "the next call raises it again"


def test_on_the_command_line_it_is_exit_code_2(site, capsys):
    install(site, "import torhc", MODULE)
    assert main(["strategies"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error  package {PACKAGE} 1.2: ") and printed.count("\n") == 1


def test_a_package_may_ask_for_the_registry_while_it_is_loaded(site):
    text = "from raysel.strategies import registered\nassert 'full' in registered()\n"
    install(site, text + strategy())
    assert "outer" in registered()


# --- names and values --------------------------------------------------------------------------


def test_an_unknown_strategy_is_answered_with_the_nearest():
    with pytest.raises(UserError, match='no strategy is called "bvg_lss"; did you mean "bvg_ls"'):
        strategy_named("bvg_lss")


def test_values_are_the_given_ones_and_the_defaults():
    found = checked_values(registered()["bvg_ls"], {"ema_decay": 0.5}, ["stem", "head"])
    assert found == {"ema_decay": 0.5, "ema_init": "paper", "update_layers": 1}
    assert checked_values(registered()["bvg_ls_threshold"], {}, [])["threshold"] is None


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("bvg_ls", {"ema_deacy": 0.5}, 'ema_deacy: bvg_ls has no such parameter; did you mean "em'),
        ("bvg_ls", {"ema_decay": 1.2}, "ema_decay: 1.2 is outside (0, 1); the paper uses 0.9"),
        ("surgical", {}, "block: is missing (the layers that move, joined by +); give one of stem"),
        ("surgical", {"block": "stm"}, 'the model has no layer "stm"; it has stem, head'),
        ("full", {"rate": 1}, "parameters.rate: full has no such parameter"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_accepted(name, given, said):
    with pytest.raises(UserError) as caught:
        checked_values(registered()[name], given, ["stem", "head"])
    assert said in str(caught.value)
